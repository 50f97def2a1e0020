//! Which fault comes when: steps in their order, then chance by its seed.

use super::*;

fn names(faults: &Faults, attempts: usize) -> Vec<&'static str> {
    let draw = |_| faults.draw("/p", None).map_or("none", |drawn| drawn.kind.name);
    (0..attempts).map(draw).collect()
}

#[test]
fn names_are_unique() {
    let mut all: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), KINDS.len());
    assert!(!all.contains(&"none"));
}

#[test]
fn steps_are_used_up_in_order_and_then_all_goes_well() {
    let script =
        Script::steps(vec![Step::times(2, "503"), Step::times(1, "none"), Step::times(1, "cut-body")]);
    let faults = Faults::new(script).expect("known kinds");
    assert_eq!(names(&faults, 6), ["503", "503", "none", "cut-body", "none", "none"]);
    let injected: Vec<_> = faults.injected().into_iter().collect();
    assert_eq!(injected, [("503".to_owned(), 2), ("cut-body".to_owned(), 1)]);
}

#[test]
fn a_step_may_wait_for_its_path_and_its_transaction() {
    let mut poison = Step { transaction: Some("bad".to_owned()), ..Step::times(1, "422") };
    poison.times = None;
    let images = Step { path: Some("/images".to_owned()), ..Step::times(1, "404") };
    let faults = Faults::new(Script::steps(vec![poison, images])).expect("known kinds");
    assert!(faults.looks_into_bodies());
    let draw = |path, transaction| faults.draw(path, transaction).map(|drawn| drawn.kind.name);
    assert_eq!(draw("/p", Some("good-1")), None);
    assert_eq!(draw("/p", Some("bad-1")), Some("422"));
    assert_eq!(draw("/images", None), Some("404"));
    assert_eq!(draw("/images", None), None, "used up");
    assert_eq!(draw("/p", Some("bad-1")), Some("422"), "for ever");
}

#[test]
fn the_same_seed_gives_the_same_faults_and_another_one_others() {
    let of = |seed| names(&Faults::new(Script::storm(seed)).expect("a storm"), 300);
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}

#[test]
fn a_storm_has_its_share_of_every_kind_and_refuses_nothing() {
    let faults = Faults::new(Script::storm(7)).expect("a storm");
    let faulty = names(&faults, 100_000).into_iter().filter(|name| *name != "none").count();
    assert!((29_000..31_000).contains(&faulty), "{faulty} of 100000 at 300 per mille");
    let injected = faults.injected();
    for kind in &KINDS {
        assert_eq!(injected.contains_key(kind.name), kind.class != Class::Refusing, "{}", kind.name);
    }
    assert!(injected["reset-stored"] > 10 * injected["401"], "by weight");
    assert_eq!(injected.values().sum::<u64>(), faulty as u64);
}

#[test]
fn delays_stay_below_their_most_and_silences_end() {
    let mut chance = Chance::new(3, 1_000, &[Class::Transient]);
    chance.delay_ms_max = 7;
    chance.silence_ms = 9;
    let faults = Faults::new(Script { steps: Vec::new(), chance: Some(chance) }).expect("a script");
    let drawn: Vec<_> = (0..5_000).filter_map(|_| faults.draw("/p", None)).collect();
    assert_eq!(drawn.len(), 5_000);
    for drawn in drawn {
        match drawn.kind.act {
            Act::StoreLate | Act::AnswerLate => assert!(drawn.ms.is_some_and(|ms| ms <= 7)),
            Act::Silence | Act::StoreThenSilence => assert_eq!(drawn.ms, Some(9)),
            _ => assert_eq!(drawn.ms, None),
        }
    }
}

#[test]
fn a_script_is_written_as_json() {
    let text = r#"{"steps":[{"fault":{"kind":"429","retry_after_s":3},"times":2}],
        "chance":{"seed":7,"per_mille":10,"weights":{"503":1}}}"#;
    let script: Script = serde_json::from_str(text).expect("a script");
    let faults = Faults::new(script.clone()).expect("known kinds");
    assert_eq!(faults.draw("/p", None).map(|drawn| drawn.retry_after_s), Some(3));
    let again = serde_json::to_string(&script).expect("JSON");
    assert_eq!(serde_json::from_str::<Script>(&again).ok(), Some(script));
    assert!(serde_json::from_str::<Script>(r#"{"step":[]}"#).is_err(), "a typo is not an empty script");
}

#[test]
fn a_script_that_cannot_be_meant_is_refused_and_the_old_one_stays() {
    let faults = Faults::new(Script::steps(vec![Step::times(1, "503")])).expect("known kinds");
    let unknown = Script::steps(vec![Step::times(1, "5O3")]);
    assert_eq!(faults.replace(unknown), Err(ScriptError::UnknownKind("5O3".to_owned())));
    let mut chance = Chance::new(1, 1_001, &[Class::Transient]);
    assert_eq!(
        faults.replace(Script { chance: Some(chance.clone()), ..Script::default() }),
        Err(ScriptError::Chance)
    );
    chance.per_mille = 1;
    chance.weights.clear();
    assert_eq!(
        faults.replace(Script { chance: Some(chance), ..Script::default() }),
        Err(ScriptError::Chance)
    );
    assert_eq!(names(&faults, 2), ["503", "none"]);
}
