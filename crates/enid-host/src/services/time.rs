//! The time: what a server says by NTP and SNTP (RFC 5905, RFC 4330).
//!
//! The clock is the host's; whether that one is right is the host's matter.

use tokio::net::UdpSocket;

/// Answers every question that comes to a socket.
pub(super) async fn answer_all(socket: UdpSocket) {
    let mut question = [0; LONGEST];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut question).await else {
            continue;
        };
        let now = now();
        if let Some(answer) = answer(&question[..length], now) {
            // Who asked asks again.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// What is read of a question; authentication and extensions behind it are not looked at.
const LONGEST: usize = 512;
/// A message without extensions.
const MESSAGE: usize = 48;
/// Modes of a message: who asks, and who answers.
const CLIENT: u8 = 3;
const SERVER: u8 = 4;
/// How exact the clock is: 2^-20 s, about a microsecond.
const PRECISION: u8 = 0xec;
/// The second stratum: the host's clock follows another one.
const STRATUM: u8 = 3;
/// 65,536ths of a second.
const ROOT_DELAY: u32 = 66;
const ROOT_DISPERSION: u32 = 66;
/// Between the epochs of NTP (1900) and of Unix.
const EPOCHS_S: u64 = 2_208_988_800;

/// The answer to a question that came at this time.
fn answer(question: &[u8], now: u64) -> Option<[u8; MESSAGE]> {
    let question: &[u8; MESSAGE] = question.first_chunk()?;
    let version = question[0] >> 3 & 7;
    if question[0] & 7 != CLIENT || !(1..=4).contains(&version) {
        return None;
    }
    let mut answer = [0; MESSAGE];
    answer[0] = version << 3 | SERVER;
    answer[1] = STRATUM;
    // The interval of questions is theirs.
    answer[2] = question[2];
    answer[3] = PRECISION;
    answer[4..8].copy_from_slice(&ROOT_DELAY.to_be_bytes());
    answer[8..12].copy_from_slice(&ROOT_DISPERSION.to_be_bytes());
    // Whom this clock follows: an address, as it is for all but the first stratum.
    answer[12..16].copy_from_slice(&[169, 254, 169, 122]);
    let now = now.to_be_bytes();
    answer[16..24].copy_from_slice(&now);
    answer[24..32].copy_from_slice(&question[40..48]);
    answer[32..40].copy_from_slice(&now);
    answer[40..48].copy_from_slice(&now);
    Some(answer)
}

/// The host's clock, as NTP writes it: seconds since 1900, and 2^32ths of a second.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    // The seconds begin anew in 2036, as the format has it.
    let seconds = (seconds + EPOCHS_S) & 0xffff_ffff;
    (seconds << 32) | ((nanoseconds << 32) / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_gets_its_own_time_back() {
        let mut question = [0; MESSAGE];
        question[0] = 4 << 3 | CLIENT;
        question[40..48].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let now = 0xe000_0000_8000_0000;
        let answer = answer(&question, now).expect("an answer");
        assert_eq!(answer[0], 0x24);
        assert_eq!(answer[24..32], question[40..48]);
        assert_eq!(answer[40..44], [0xe0, 0, 0, 0]);
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        assert!(answer(&[0; MESSAGE - 1], 1).is_none());
        // Answers, broadcasts and control messages: two servers must not speak for ever.
        for mode in [0, 1, 2, 4, 5, 6, 7] {
            let mut message = [0; MESSAGE];
            message[0] = 4 << 3 | mode;
            assert!(answer(&message, 1).is_none(), "{mode}");
        }
    }

    #[test]
    fn the_clock_has_this_century() {
        let year = (now() >> 32) / 31_556_952 + 1900;
        assert!((2020..2036).contains(&year), "{year}");
    }
}
