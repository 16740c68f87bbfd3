//! Lines that somebody sends to the control socket: a request, or an answer to one.
//!
//! What is understood is written and read back as the same; what is not is refused in one line.

use supervise::control::{read_reply, read_request, write_reply, write_request};

use super::assert_one_line;

pub fn control(data: &[u8]) {
    match read_request(data) {
        Ok(request) => assert_eq!(read_request(&write_request(&request)), Ok(request)),
        Err(rejection) => {
            assert_one_line(&rejection.text);
            let answer = Err(rejection);
            assert_eq!(read_reply(&write_reply(&answer)), Some(answer));
        }
    }
    if let Some(answer) = read_reply(data) {
        assert_eq!(read_reply(&write_reply(&answer)), Some(answer));
    }
}
