use super::*;
use crate::app::accord::Standing;
use crate::base::shutdown::Shutdown;
use crate::ingest::commit::CommitError;
use crate::model::{Epoch, Kind, NewDocument};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

fn addresses(count: usize) -> Vec<String> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

fn member(process: usize, addresses: &[String], workers: usize) -> Arc<Cluster> {
    let hosts = Hosts { process, addresses: addresses.to_vec() };
    Arc::new(Cluster::listen(hosts, workers, Shutdown::new()).unwrap())
}

fn meeting(cluster: &Arc<Cluster>, last: u64) -> thread::JoinHandle<anyhow::Result<Met>> {
    let cluster = Arc::clone(cluster);
    // One that all have, and one that only this process has.
    let kept = [Epoch(last), Epoch(5), Epoch(0)];
    let standing = Standing { kept, ..Standing::default() };
    thread::spawn(move || cluster.meet(Epoch(last), standing))
}

#[test]
fn all_meet_and_know_the_newest_epoch_also_when_one_comes_again() {
    let addresses = addresses(3);
    let first = member(0, &addresses, 2);
    let last = member(2, &addresses, 2);
    let meetings = [meeting(&first, 7), meeting(&last, 90)];
    thread::sleep(Duration::from_millis(200));
    assert_eq!(first.waits_for(), format!("process 1 ({})", addresses[1]));
    // It is gone again before the others have taken note.
    let early = member(1, &addresses, 2);
    let gives_up = meeting(&early, 8);
    early.stop().trigger();
    assert!(gives_up.join().unwrap().err().unwrap().is::<Stopped>());
    drop(early);
    let middle = member(1, &addresses, 2);
    let middle = meeting(&middle, 8).join().unwrap().unwrap();
    let [first, last] = meetings.map(|meeting| meeting.join().unwrap().unwrap());
    let mut all = [first, middle, last];
    for (process, met) in all.iter().enumerate() {
        assert_eq!(met.newest, Epoch(90));
        assert_eq!(met.common, [Epoch(5)]);
        let missing: Vec<usize> = (0..3).filter(|i| met.sockets[*i].is_none()).collect();
        assert_eq!(missing, [process]);
    }
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        all[from].sockets[to].as_mut().unwrap().write_all(&[from as u8]).unwrap();
        let mut byte = [9];
        all[to].sockets[from].as_mut().unwrap().read_exact(&mut byte).unwrap();
        assert_eq!(byte, [from as u8]);
    }
}

#[test]
fn who_was_started_otherwise_is_refused() {
    let addresses = addresses(2);
    let _first = member(0, &addresses, 2);
    let refused = |process: usize, workers: usize, addresses: &[String]| {
        let met = meeting(&member(process, addresses, workers), 1).join().unwrap();
        met.err().unwrap().to_string()
    };
    let text = refused(1, 3, &addresses);
    assert!(text.contains("it has --workers 3, the others 2"), "{text}");
    let more = [addresses, self::addresses(1)].concat();
    let text = refused(2, 2, &more);
    assert!(text.contains("it was started with --processes 3, the others with 2"), "{text}");
}

#[test]
fn documents_are_published_by_the_first_process() {
    let addresses = addresses(2);
    let (first, second) = (member(0, &addresses, 1), member(1, &addresses, 1));
    let new = NewDocument { kind: Kind::Assets, key: "a".into(), body: Some("{}".into()) };
    let publish = || second.publish(vec![new.clone()]);
    let away = publish().unwrap_err();
    assert!(matches!(&away, CommitError::Away(why) if why.contains("not whole")), "{away}");
    let expected = new.clone();
    first.keep(Some(Arc::new(move |documents| {
        assert_eq!(documents, std::slice::from_ref(&expected));
        Ok(Epoch(12))
    })));
    assert_eq!(publish().unwrap(), Epoch(12));
    first.keep(Some(Arc::new(|_| Err(CommitError::Refused(Vec::new())))));
    assert_eq!(publish().unwrap_err(), CommitError::Refused(Vec::new()));
    drop(first);
    assert!(matches!(publish().unwrap_err(), CommitError::Away(_)));
}
