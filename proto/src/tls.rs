//! Certificates and keys of both ends of a connection, read from PEM files and checked before they are used, so
//! that an error names the file.
//!
//! rustls with ring does the rest. TLS 1.2 and 1.3; HTTP/2 or HTTP/1.1 is negotiated by ALPN.

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// HTTP/2, which gRPC needs, before HTTP/1.1, by their registered names.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// PEM files by which one end proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The certificate, followed by those between it and the authority, if any.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// PEM files of the end that connects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// Authorities that the analyzer's certificate must be of. `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// What to show to the analyzer, if it asks.
    pub identity: Option<IdentityFiles>,
}

/// PEM files of the end that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    /// What to show to clients.
    pub identity: IdentityFiles,
    /// Authorities that a client's certificate must be of. A client without one is refused.
    pub client_ca: PathBuf,
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file holds nothing of the kind.
    #[error("{} holds no {kind} in PEM form", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        kind: &'static str,
    },
    /// A file is damaged, or holds something that rustls cannot use.
    #[error("{}: {what}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Certificate and key do not belong together.
    #[error("{} is not the key of the certificate in {}", key.display(), cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

impl ClientFiles {
    /// Whether no file is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads and checks the files.
    pub fn read(&self) -> Result<ClientTlsConfig, TlsError> {
        let mut config = ClientTlsConfig::new();
        config = match &self.ca {
            Some(path) => {
                let pem = read(path)?;
                authorities(path, &pem)?;
                config.ca_certificate(Certificate::from_pem(pem))
            }
            None => config.with_native_roots(),
        };
        if let Some(identity) = &self.identity {
            let (cert, key) = (read(&identity.cert)?, read(&identity.key)?);
            certified(identity, &cert, &key, &provider())?;
            config = config.identity(Identity::from_pem(cert, key));
        }
        Ok(config)
    }
}

impl ServerFiles {
    /// Reads and checks the files.
    pub fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = provider();
        let (cert, key) = (read(&self.identity.cert)?, read(&self.identity.key)?);
        let (chain, key) = certified(&self.identity, &cert, &key, &provider)?;
        let roots = authorities(&self.client_ca, &read(&self.client_ca)?)?;
        let unusable = |path: &Path, what: String| TlsError::Unusable { path: path.to_owned(), what };
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
            .build()
            .map_err(|error| unusable(&self.client_ca, error.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&self.identity.cert, error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| unusable(&self.identity.cert, error.to_string()))?;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(Arc::new(config))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Unusable { path: path.to_owned(), what: error.to_string() })?;
    if certificates.is_empty() {
        return Err(TlsError::Nothing { path: path.to_owned(), kind: "certificate" });
    }
    Ok(certificates)
}

fn authorities(path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Unusable { path: path.to_owned(), what: error.to_string() })?;
    }
    Ok(roots)
}

type Certified = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn certified(
    files: &IdentityFiles,
    cert: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<Certified, TlsError> {
    let chain = certificates(&files.cert, cert)?;
    let key = match PrivateKeyDer::from_pem_slice(key) {
        Ok(key) => key,
        Err(PemError::NoItemsFound) => {
            return Err(TlsError::Nothing { path: files.key.clone(), kind: "private key" });
        }
        Err(error) => {
            return Err(TlsError::Unusable { path: files.key.clone(), what: error.to_string() });
        }
    };
    let unusable = |path: &PathBuf, error: rustls::Error| TlsError::Unusable {
        path: path.clone(),
        what: error.to_string(),
    };
    let signing = provider
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(|error| unusable(&files.key, error))?;
    match CertifiedKey::new(chain.clone(), signing).keys_match() {
        // A key that does not tell its public half is judged by the handshake.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok((chain, key)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { cert: files.cert.clone(), key: files.key.clone() })
        }
        Err(error) => Err(unusable(&files.cert, error)),
    }
}
