//! A way to the upstream that is shut at first: who connects waits, with what it asks.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

pub(crate) struct Gate {
    listener: TcpListener,
    to: String,
}

impl Gate {
    /// One that leads to `to`.
    pub(crate) fn shut(to: &str) -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").expect("a port"), to: to.to_owned() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("bound")
    }

    /// Lets everybody pass, until the test program ends.
    pub(crate) fn open(&self) {
        let (listener, to) = (self.listener.try_clone().expect("another"), self.to.clone());
        thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                let there = TcpStream::connect(&to).expect("listens");
                pass(&from, &there);
                pass(&there, &from);
            }
        });
    }
}

fn pass(from: &TcpStream, to: &TcpStream) {
    to.set_nodelay(true).expect("set");
    let (mut from, mut to) = (from.try_clone().expect("another"), to.try_clone().expect("another"));
    thread::spawn(move || {
        // An error is the end of either, of which the other hears.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
