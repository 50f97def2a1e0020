//! Tests of `tasks`, with the clock paused.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;

const DEADLINES: Deadlines = Deadlines {
    gateway: Duration::from_secs(1),
    intake: Duration::from_secs(1),
    drain: Duration::from_secs(10),
    store: Duration::from_secs(1),
    admin: Duration::from_secs(1),
};

/// What a signal does.
async fn stop(mut tasks: Tasks) -> Vec<&'static str> {
    assert_eq!(tasks.run_until(async { "SIGTERM" }).await.expect("no task ended"), "SIGTERM");
    tasks.stop_all(DEADLINES, async {}).await
}

async fn obedient(mut stop: Stop) -> TaskResult {
    stop.requested().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn stages_stop_in_order_each_after_the_one_before() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Tasks::default();
    for (stage, name) in
        [(Stage::Admin, "admin"), (Stage::Store, "log"), (Stage::Drain, "drain"), (Stage::Intake, "socket")]
    {
        let order = order.clone();
        tasks.spawn(stage, name, |mut stop| async move {
            stop.requested().await;
            order.lock().expect("whole").push(format!("{name} asked"));
            tokio::time::sleep(Duration::from_millis(500)).await;
            order.lock().expect("whole").push(format!("{name} stopped"));
            Ok(())
        });
    }
    assert_eq!(stop(tasks).await, Vec::<&str>::new());
    let expected: Vec<_> = ["socket", "drain", "log", "admin"]
        .into_iter()
        .flat_map(|name| [format!("{name} asked"), format!("{name} stopped")])
        .collect();
    assert_eq!(*order.lock().expect("whole"), expected);
}

#[tokio::test(start_paused = true)]
async fn the_first_unexpected_end_stops_everything_with_its_error() {
    for (task, message) in [
        ("error", "drain failed: cannot write: disk is gone"),
        ("return", "drain ended by itself"),
        ("panic", "drain panicked: index 7 of 3"),
    ] {
        let mut tasks = Tasks::default();
        let (stopped, mut was_stopped) = tokio::sync::oneshot::channel();
        tasks.spawn(Stage::Intake, "socket", |stop| async move {
            obedient(stop).await?;
            stopped.send(()).map_err(|()| "nobody listens".into())
        });
        tasks.spawn(Stage::Drain, "drain", |_| async move {
            match task {
                "error" => Err(anyhow::anyhow!("disk is gone").context("cannot write").into()),
                "return" => Ok(()),
                _ => panic!("index {} of 3", 7),
            }
        });
        let error = tasks.run_until(std::future::pending()).await.expect_err("ends with the error");
        assert_eq!(tasks.stop_all(DEADLINES, async {}).await, Vec::<&str>::new());
        assert_eq!(crate::chain(&error), message);
        was_stopped.try_recv().expect("the others were stopped in order");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_late_is_aborted_and_named() {
    struct Dropped(Arc<Mutex<bool>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            *self.0.lock().expect("whole") = true;
        }
    }
    let dropped = Arc::new(Mutex::new(false));
    let guard = Dropped(dropped.clone());
    let mut tasks = Tasks::default();
    tasks.spawn(Stage::Drain, "deaf", |_| async move {
        let _guard = guard;
        std::future::pending().await
    });
    tasks.spawn(Stage::Drain, "drain", obedient);
    tasks.spawn(Stage::Admin, "admin", obedient);
    let before = Instant::now();
    assert_eq!(stop(tasks).await, ["deaf"]);
    assert_eq!(before.elapsed(), DEADLINES.drain, "only the stage with the late task waits");
    assert!(*dropped.lock().expect("whole"));
}

#[tokio::test(start_paused = true)]
async fn an_error_while_stopping_does_not_keep_the_rest_from_stopping() {
    let mut tasks = Tasks::default();
    tasks.spawn(Stage::Intake, "socket", |stop| async move {
        obedient(stop).await?;
        Err("cannot unlink".into())
    });
    tasks.spawn(Stage::Drain, "drain", |stop| async move {
        obedient(stop).await?;
        panic!("while stopping")
    });
    tasks.spawn(Stage::Store, "log", obedient);
    assert_eq!(stop(tasks).await, Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn a_group_never_holds_more_than_its_bound() {
    let running = Arc::new(Mutex::new((0, 0)));
    let mut group = Group::new("connection", 3);
    for _ in 0..20 {
        group.room().await;
        let running = running.clone();
        group.spawn(async move {
            {
                let mut counts = running.lock().expect("whole");
                counts.0 += 1;
                counts.1 = counts.1.max(counts.0);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            running.lock().expect("whole").0 -= 1;
        });
    }
    group.finish().await;
    assert_eq!(*running.lock().expect("whole"), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_group_leaves_room_and_the_others_alone() {
    let mut group = Group::new("connection", 1);
    group.spawn(async { panic!("one client's bug") });
    group.room().await;
    assert!(group.is_empty());
    let (done, is_done) = tokio::sync::oneshot::channel();
    group.spawn(async move { done.send(()).expect("awaited") });
    group.finish().await;
    is_done.await.expect("ran");
}
