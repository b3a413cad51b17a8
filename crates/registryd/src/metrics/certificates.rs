//! When certificates end.

use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The end of the first certificate in each file, the server's own, in seconds since 1970. The files are
/// read each time, because they are replaced. One that cannot be read is left out: a metric that is gone
/// raises an alarm, and one that stays does not.
pub(crate) fn certificates(files: &[&PathBuf]) -> Vec<(String, i64)> {
    let ends = files.iter().filter_map(|file| {
        let name = file.display().to_string();
        Some((name, end(file)?))
    });
    ends.collect()
}

fn end(file: &Path) -> Option<i64> {
    let der = CertificateDer::pem_file_iter(file).ok()?.next()?.ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_the_one_that_the_certificate_names() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tls.crt");
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        let missing = dir.path().join("missing");
        let ends = certificates(&[&file, &missing]);
        // 2031-02-03T00:00:00Z
        assert_eq!(ends, [(file.display().to_string(), 1_927_843_200)]);
    }
}
