use super::place::{HEADER, LENGTH};
use super::*;
use std::net::TcpListener;

fn message(length: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    [7, 1, 2, 3, length, 9].iter().for_each(|w: &u64| bytes.extend(w.to_be_bytes()));
    bytes.extend((0..length).map(|i| i as u8 | 1));
    bytes
}

/// The messages' lengths, read as the one does who takes the stream for a whole one.
fn lengths(bytes: &[u8]) -> Vec<u64> {
    let (mut at, mut found) = (0, Vec::new());
    while at < bytes.len() {
        let length = u64::from_be_bytes(bytes[at + LENGTH..][..8].try_into().unwrap());
        found.push(length);
        at += HEADER + length as usize;
    }
    assert_eq!(at, bytes.len());
    found
}

/// Both ends of a connection.
fn ends() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (sender, listener.accept().unwrap().0)
}

#[test]
fn a_stream_that_is_cut_anywhere_ends_with_the_last_message() {
    let whole = [message(5), message(300)].concat();
    // What goes over the connection, and how much of the messages is in so many bytes of it.
    let (mut raw, mut inside) = (Vec::new(), vec![0]);
    for piece in whole.chunks(100) {
        let beat = b"words";
        raw.extend((1_u32 << 31 | beat.len() as u32).to_le_bytes().iter().chain(beat));
        raw.extend((piece.len() as u32).to_le_bytes());
        inside.resize(raw.len() + 1, inside[inside.len() - 1]);
        let before = inside[raw.len()];
        inside.extend((1..=piece.len()).map(|count| before + count));
        raw.extend(piece);
    }
    assert_eq!(inside[raw.len()], whole.len());
    for cut in 0..=raw.len() {
        let (mut sender, receiver) = ends();
        let lines = Lines::new(1);
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        lines.on_lost(Box::new(move |peer, _| heard.lock().unwrap().push(peer)));
        let mut link = lines.link(3, receiver).unwrap();
        sender.write_all(&raw[..cut]).unwrap();
        // What was not read when an end is closed would break the connection.
        sender.shutdown(Shutdown::Write).unwrap();
        lines.leave();
        let mut read = Vec::new();
        link.read_to_end(&mut read).unwrap();
        let known = inside[cut];
        assert_eq!(read[..known], whole[..known]);
        assert_eq!(lengths(&read).last(), Some(&0), "cut at {cut}");
        assert_eq!(*told.lock().unwrap(), [3], "cut at {cut}");
        lines.close();
        assert_eq!(link.write(&whole).unwrap(), whole.len());
    }
}

#[test]
fn what_is_written_comes_out_and_what_is_said_is_heard() {
    let (sender, receiver) = ends();
    let (near, far) = (Lines::new(0), Lines::new(0));
    let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let to_heard = Arc::clone(&heard);
    far.on_words(Box::new(move |_, words| to_heard.lock().unwrap().push(words.into())));
    let mut near_link = near.link(1, sender).unwrap();
    let mut far_link = far.link(0, receiver).unwrap();
    let last = message(0);
    let bytes: Vec<u8> = (0..20).flat_map(|i| message(1 << i)).chain(last).collect();
    let expected = bytes.clone();
    let writer = std::thread::spawn(move || {
        for piece in bytes.chunks(70_000) {
            near_link.write_all(piece).unwrap();
            near.say(&[piece[0], 1, 2]);
        }
        near.say(&[9]);
        while heard.lock().unwrap().last() != Some(&vec![9]) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        near_link.shutdown(Shutdown::Write);
    });
    let mut read = Vec::new();
    far_link.read_to_end(&mut read).unwrap();
    writer.join().unwrap();
    assert!(read == expected);
}
