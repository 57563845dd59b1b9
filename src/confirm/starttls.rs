//! What is said in the clear before TLS begins: SMTP's STARTTLS (RFC 3207).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// RFC 5321 §4.5.3.1.5, and room for servers that say more.
const MAX_LINE_BYTES: usize = 2048;
/// A greeting or a list of extensions may have this many lines.
const MAX_LINES: usize = 100;

/// Brings an SMTP server to the point where it expects a ClientHello.
///
/// # Errors
/// The connection's, or what the server answers instead.
pub(super) async fn smtp<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    reply(stream, "220").await?;
    // An address literal would be truer, and has servers look for its name.
    stream.write_all(b"EHLO localhost\r\n").await?;
    let extensions = reply(stream, "250").await?;
    let offered = extensions.iter().any(|line| line.trim().eq_ignore_ascii_case("STARTTLS"));
    if !offered {
        return Err(io::Error::other("the server does not offer STARTTLS"));
    }
    stream.write_all(b"STARTTLS\r\n").await?;
    reply(stream, "220").await?;
    Ok(())
}

/// Reads one reply, all of its lines; gives what stands behind the code on each.
async fn reply<S: AsyncRead + Unpin>(stream: &mut S, code: &str) -> io::Result<Vec<String>> {
    let mut texts = Vec::new();
    while texts.len() < MAX_LINES {
        let line = line(stream).await?;
        let (found, rest) = line.split_at_checked(3).unwrap_or((&line, ""));
        if found != code {
            return Err(io::Error::other(format!("the server answers {line:?}")));
        }
        let last = !rest.starts_with('-');
        texts.push(rest.get(1..).unwrap_or_default().to_owned());
        if last {
            return Ok(texts);
        }
    }
    Err(io::Error::other("the server's answer does not end"))
}

/// Byte by byte: what follows the last line belongs to TLS.
async fn line<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        if line.len() >= MAX_LINE_BYTES {
            return Err(io::Error::other("the server's line does not end"));
        }
        line.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says this, whatever it is told; and what a client makes of it.
    async fn check(said: &str, expected: Result<(), &str>) {
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(said.as_bytes()).await.expect("it fits");
        // Nothing more comes.
        theirs.shutdown().await.expect("a pipe in memory");
        let found = smtp(&mut ours).await.map_err(|error| error.to_string());
        match (found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(words)) => assert!(error.contains(words), "{said:?}: {error}"),
            (found, expected) => panic!("{said:?}: {found:?}, not {expected:?}"),
        }
    }

    #[tokio::test]
    async fn servers_say_when_tls_may_begin() {
        let hello = "220 mx ESMTP\r\n";
        let all = "250-mx Hello\r\n250-SIZE 52428800\r\n250-STARTTLS\r\n250 HELP\r\n";
        check(&format!("{hello}{all}220 TLS go ahead\r\n"), Ok(())).await;
        check(&format!("220-mx\r\n{hello}250 starttls\r\n220 go\r\n"), Ok(())).await;
        check(&format!("{hello}250-mx\r\n250 HELP\r\n"), Err("does not offer STARTTLS")).await;
        check(&format!("{hello}{all}454 TLS currently unavailable\r\n"), Err("454 TLS")).await;
        check("554 no\r\n", Err("554 no")).await;
        check("220 mx", Err("end of file")).await;
        check(&"220-mx\r\n".repeat(MAX_LINES), Err("does not end")).await;
    }
}
