//! Delivery by mail: what is sent, and the few commands of SMTP that hand it to a relay.
//!
//! The relay is the operator's choice, on a network that is trusted: there is no TLS and no log-in here.
//! It is the relay that finds the way to a mailbox and asks again if that is not there.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use enid_model::time::Timestamp;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::outcome::Outcome;

/// Where mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// `host:port`.
    pub address: String,
    /// The address that mail comes from.
    pub from: String,
}

/// A mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mail<'a> {
    pub(super) to: &'a str,
    /// The name beside the sender's address; empty for none.
    pub(super) from_name: &'a str,
    pub(super) subject: &'a str,
    /// The same for the same mail, so that a reader sees it once if it comes twice.
    pub(super) id: &'a str,
    pub(super) at: Timestamp,
    pub(super) text: &'a str,
}

/// For a whole conversation with the relay.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest line of an answer.
const LINE_MAX: usize = 1024;
/// Lines of one answer.
const LINES_MAX: usize = 100;

impl Relay {
    /// Hands a mail to the relay.
    pub(super) async fn send(&self, mail: &Mail<'_>) -> Outcome {
        match timeout(PATIENCE, self.converse(mail)).await {
            Ok(Ok(())) => Outcome::Delivered,
            Ok(Err(outcome)) => outcome,
            Err(_elapsed) => Outcome::Failed("the relay did not answer in time"),
        }
    }

    async fn converse(&self, mail: &Mail<'_>) -> Result<(), Outcome> {
        let stream = TcpStream::connect(&self.address).await;
        let stream = stream.map_err(|_refused| Outcome::Failed("no connection to the relay"))?;
        let mut relay = Conversation(BufReader::new(stream));
        relay.expect(2).await?;
        relay.say("EHLO localhost", 2).await?;
        relay.say(&format!("MAIL FROM:<{}>", self.from), 2).await?;
        relay.say(&format!("RCPT TO:<{}>", mail.to), 2).await?;
        relay.say("DATA", 3).await?;
        relay.say(&format!("{}.", self.written(mail)), 2).await?;
        // It has been taken; what the relay says to this is no matter.
        let _ = relay.say("QUIT", 2).await;
        Ok(())
    }

    /// Headers and body, each line ended, none a lone dot: the body is base64.
    fn written(&self, mail: &Mail<'_>) -> String {
        let from = match mail.from_name {
            "" => self.from.clone(),
            name => format!("{} <{}>", encoded(name), self.from),
        };
        let domain = self
            .from
            .split_once('@')
            .map_or("localhost", |(_, domain)| domain);
        let (to, subject, id) = (mail.to, encoded(mail.subject), mail.id);
        let date = date(mail.at);
        let mut out = format!(
            "From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {date}\r\nMessage-ID: <{id}@{domain}>\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=UTF-8\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n"
        );
        let text = STANDARD.encode(mail.text);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            // Base64 is ASCII, so every index is between letters.
            let (line, more) = rest.split_at(rest.len().min(76));
            // Writing to a string does not fail.
            let _ = write!(out, "{line}\r\n");
            rest = more;
        }
        out
    }
}

struct Conversation(BufReader<TcpStream>);

impl Conversation {
    /// Says a line and expects an answer of this class.
    async fn say(&mut self, line: &str, class: u8) -> Result<(), Outcome> {
        let broken = |_error: std::io::Error| Outcome::Failed("the connection to the relay broke");
        let stream = self.0.get_mut();
        stream.write_all(line.as_bytes()).await.map_err(broken)?;
        stream.write_all(b"\r\n").await.map_err(broken)?;
        self.expect(class).await
    }

    /// Reads an answer: https://www.rfc-editor.org/rfc/rfc5321#section-4.2.
    async fn expect(&mut self, class: u8) -> Result<(), Outcome> {
        for _ in 0..LINES_MAX {
            let line = self.line().await?;
            let is_last = line.get(3) != Some(&b'-');
            if !is_last {
                continue;
            }
            return match line.first() {
                Some(first) if *first == b'0' + class => Ok(()),
                Some(b'5') => Err(Outcome::Refused("the relay refused the mail")),
                _ => Err(Outcome::Failed("the relay does not take the mail now")),
            };
        }
        Err(Outcome::Failed("the relay talks too much"))
    }

    async fn line(&mut self) -> Result<Vec<u8>, Outcome> {
        let broken = || Outcome::Failed("the connection to the relay broke");
        let mut line = Vec::new();
        loop {
            let buffer = self.0.fill_buf().await.map_err(|_error| broken())?;
            if buffer.is_empty() || line.len() > LINE_MAX {
                return Err(broken());
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let count = end.map_or(buffer.len(), |end| end + 1);
            line.extend(buffer.iter().take(count));
            self.0.consume(count);
            if end.is_some() {
                return Ok(line);
            }
        }
    }
}

/// A text for a header: as it is if every mail program reads it so, else in encoded words of at most 75
/// characters (https://www.rfc-editor.org/rfc/rfc2047#section-2).
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" -_./#'!".contains(&byte);
    if text.bytes().all(is_plain) && text.len() < 200 {
        return text.to_owned();
    }
    let mut words: Vec<String> = vec![String::new()];
    for letter in text.chars() {
        let last = words.last().map_or(0, String::len);
        if last + letter.len_utf8() > 45 {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    let words = words
        .iter()
        .map(|word| format!("=?UTF-8?B?{}?=", STANDARD.encode(word)));
    words.collect::<Vec<_>>().join("\r\n ")
}

/// As mail has it: `Fri, 02 Jan 2026 03:04:05 +0000`.
fn date(at: Timestamp) -> String {
    let (year, month, day, hour, minute, second) = at.civil();
    let days = at.seconds().div_euclid(86_400);
    // 1970-01-01 was a Thursday.
    let weekday = usize::try_from((days + 4).rem_euclid(7)).unwrap_or(0);
    let weekday = WEEKDAYS.get(weekday).copied().unwrap_or("Sun");
    let month = usize::try_from(month)
        .ok()
        .and_then(|month| month.checked_sub(1));
    let month = month.and_then(|month| MONTHS.get(month).copied());
    let month = month.unwrap_or("Jan");
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} +0000")
}

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn mail() -> Mail<'static> {
        Mail {
            to: "a@example.com",
            from_name: "Müller & Co",
            subject: "ALARM: \"x\"",
            id: "7",
            at: Timestamp(1_767_323_045_006),
            text: ".\r\nit burns\n",
        }
    }

    #[test]
    fn a_mail_has_the_headers_that_mail_has() {
        let relay = Relay {
            address: String::new(),
            from: "enid@example.com".to_owned(),
        };
        let written = relay.written(&mail());
        let (head, body) = written.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("\r\nDate: Fri, 02 Jan 2026 03:04:05 +0000\r\n"),
            "{head}"
        );
        assert!(
            head.contains("\r\nMessage-ID: <7@example.com>\r\n"),
            "{head}"
        );
        let name = STANDARD.encode("Müller & Co");
        assert!(head.starts_with(&format!("From: =?UTF-8?B?{name}?= <enid@example.com>\r\n")));
        assert_eq!(body, format!("{}\r\n", STANDARD.encode(".\r\nit burns\n")));
        assert_eq!(encoded("plain words"), "plain words");
        let long = encoded(&"ä".repeat(60));
        assert!(long.split("\r\n ").all(|word| word.len() <= 75), "{long}");
    }

    /// A relay that answers from a list, and what it was told.
    async fn conversation(answers: &'static [&'static str]) -> (Outcome, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Relay {
            address: listener.local_addr().unwrap().to_string(),
            from: "enid@example.com".to_owned(),
        };
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut heard = String::new();
            for answer in answers {
                stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
                let until = if answer.starts_with("354") {
                    "\r\n.\r\n"
                } else {
                    "\r\n"
                };
                loop {
                    let count = stream.read_line(&mut heard).await.unwrap();
                    if count == 0 || heard.ends_with(until) {
                        break;
                    }
                }
            }
            heard
        });
        let outcome = relay.send(&mail()).await;
        (outcome, server.await.unwrap())
    }

    #[tokio::test]
    async fn the_relay_is_spoken_to_in_order() {
        let (outcome, heard) = conversation(&[
            "220-hello\r\n220 there\r\n",
            "250-relay\r\n250 SIZE 1000\r\n",
            "250 ok\r\n",
            "250 ok\r\n",
            "354 go on\r\n",
            "250 taken\r\n",
        ])
        .await;
        assert_eq!(outcome, Outcome::Delivered);
        let start = "EHLO localhost\r\nMAIL FROM:<enid@example.com>\r\nRCPT TO:<a@example.com>\r\nDATA\r\nFrom: ";
        assert!(heard.starts_with(start), "{heard}");
        assert!(heard.ends_with("\r\n.\r\nQUIT\r\n"), "{heard}");
    }

    #[tokio::test]
    async fn refusals_are_told_from_failures() {
        let (outcome, _) =
            conversation(&["220 hi\r\n", "250 ok\r\n", "250 ok\r\n", "550 no\r\n"]).await;
        assert_eq!(outcome, Outcome::Refused("the relay refused the mail"));
        let (outcome, _) = conversation(&["220 hi\r\n", "250 ok\r\n", "451 later\r\n"]).await;
        assert_eq!(
            outcome,
            Outcome::Failed("the relay does not take the mail now")
        );
        let (outcome, _) = conversation(&["220 hi\r\n"]).await;
        assert_eq!(
            outcome,
            Outcome::Failed("the connection to the relay broke")
        );
    }
}
