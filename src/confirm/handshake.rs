//! One handshake: what the server presents is written down before anything is checked.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ProtocolVersion};
use rustls::{SignatureScheme, SupportedCipherSuite};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::{Address, KeyKind, Look, LookError, Seen, StartTls, TlsVersion, starttls};

/// The PROXY protocol, version 1, with nothing told: every server that expects a header takes it.
const PROXY_UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";

/// Makes one full handshake and gives what the server presented.
///
/// The handshake's own signature is checked; the chain, its names and dates are not.
///
/// # Errors
/// [`LookError`] where the server presented nothing. What went wrong later is in [`Seen::broke_off`].
pub async fn look(look: &Look) -> Result<Seen, LookError> {
    let after = look.timeout;
    let address = look.address.clone();
    tokio::time::timeout(after, connect(look))
        .await
        .unwrap_or(Err(LookError::TimedOut { address, after }))
}

async fn connect(look: &Look) -> Result<Seen, LookError> {
    let begun = Instant::now();
    let refused = |source| LookError::Connect { address: look.address.clone(), source };
    match &look.address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(refused)?;
            let _ = stream.set_nodelay(true);
            shake_hands(look, stream, begun).await
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(refused)?;
            shake_hands(look, stream, begun).await
        }
    }
}

async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    look: &Look,
    mut stream: S,
    begun: Instant,
) -> Result<Seen, LookError> {
    let failed = |source| LookError::Handshake { address: look.address.clone(), source };
    if look.proxy_protocol {
        stream.write_all(PROXY_UNKNOWN).await.map_err(failed)?;
    }
    match look.starttls {
        Some(StartTls::Smtp) => starttls::smtp(&mut stream).await.map_err(failed)?,
        None => {}
    }
    let witness = Arc::new(Witness::new(look.key));
    let connector = TlsConnector::from(Arc::new(config(look, &witness)));
    let name = match &look.server_name {
        Some(name) => ServerName::try_from(name.clone())
            .map_err(|_| LookError::Name { name: name.clone() })?,
        // Not sent: SNI is off.
        None => ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    };
    let (tls, broke_off) = match connector.connect(name, stream).await {
        Ok(mut stream) => {
            let spoken = stream.get_ref().1.protocol_version();
            // A server that logs unclean ends should have nothing to log.
            let _ = stream.shutdown().await;
            let tls13 = spoken == Some(ProtocolVersion::TLSv1_3);
            (if tls13 { TlsVersion::Tls13 } else { TlsVersion::Tls12 }, None)
        }
        Err(error) if witness.testimony().chain.is_empty() => return Err(failed(error)),
        Err(error) => (witness.testimony().signed_by, Some(error.to_string())),
    };
    let Testimony { chain, staple, .. } = std::mem::take(&mut *witness.testimony());
    Ok(Seen { chain, staple, tls, took: begun.elapsed(), broke_off })
}

/// A configuration of its own for every look, so that nothing is ever resumed.
fn config(look: &Look, witness: &Arc<Witness>) -> ClientConfig {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(kind) = look.key {
        // TLS 1.2 settles the key type by its cipher suites, TLS 1.3 by its signature schemes.
        provider.cipher_suites.retain(|suite| match suite {
            SupportedCipherSuite::Tls12(suite) => suite.sign.iter().any(|s| offered(*s, kind)),
            SupportedCipherSuite::Tls13(_) => true,
        });
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("each key type has suites in TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(witness) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    config.enable_sni = look.server_name.is_some();
    config
}

fn offered(scheme: SignatureScheme, kind: KeyKind) -> bool {
    let name = scheme.as_str().unwrap_or_default();
    name.starts_with("RSA") == (kind == KeyKind::Rsa)
}

/// Writes down what is presented and lets everything pass but a wrong handshake signature.
#[derive(Debug)]
struct Witness {
    schemes: Vec<SignatureScheme>,
    algorithms: WebPkiSupportedAlgorithms,
    testimony: Mutex<Testimony>,
}

#[derive(Debug, Default)]
struct Testimony {
    chain: Vec<Vec<u8>>,
    staple: Option<Vec<u8>>,
    signed_by: TlsVersion,
}

impl Witness {
    fn new(key: Option<KeyKind>) -> Witness {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let mut schemes = algorithms.supported_schemes();
        schemes.retain(|scheme| key.is_none_or(|kind| offered(*scheme, kind)));
        Witness { schemes, algorithms, testimony: Mutex::default() }
    }

    fn testimony(&self) -> MutexGuard<'_, Testimony> {
        self.testimony.lock().expect("nothing panics while it holds this")
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut testimony = self.testimony();
        let chain = std::iter::once(end_entity).chain(intermediates);
        testimony.chain = chain.map(|certificate| certificate.to_vec()).collect();
        // rustls says "none" by an empty slice; an OCSPResponse is never empty.
        testimony.staple = (!ocsp_response.is_empty()).then(|| ocsp_response.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.testimony().signed_by = TlsVersion::Tls13;
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
