//! HTTP requests to the registry by curl.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{command::Invocation, digest, security::Access};

/// Every manifest type, in the order containers/image names them.
pub const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// The HTTP interface of one registry.
#[derive(Debug, Clone)]
pub struct Api {
    access: Access,
    scratch: PathBuf,
}

impl Api {
    pub(crate) fn new(access: Access, scratch: &Path) -> Self {
        Self {
            access,
            scratch: scratch.to_owned(),
        }
    }

    /// GET of a path or of a URL of this registry.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.request("GET", path, [""; 0])
    }

    /// A manifest by tag or digest: status 200, and the digest is that of the bytes.
    pub fn manifest(&self, repository: &str, reference: &str) -> Result<Manifest> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let accept = format!("Accept: {MANIFEST_TYPES}");
        let answer = self.request("GET", &path, ["-H", &accept])?;
        ensure!(
            answer.status == 200,
            "GET {path}: {}\n{}",
            answer.status,
            answer.text()
        );
        let digest = digest::of(&answer.body);
        let said = answer.header("docker-content-digest").unwrap_or_default();
        ensure!(
            said == digest,
            "GET {path} says {said} and sends the bytes of {digest}"
        );
        let media_type = answer.header("content-type").unwrap_or_default().to_owned();
        Ok(Manifest {
            digest,
            media_type,
            bytes: answer.body,
        })
    }

    /// Whether a manifest is there.
    pub fn has_manifest(&self, repository: &str, reference: &str) -> Result<bool> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let accept = format!("Accept: {MANIFEST_TYPES}");
        let answer = self.request("GET", &path, ["-H", &accept])?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            other => bail!("GET {path}: {other}\n{}", answer.text()),
        }
    }

    /// Fetches a blob, and returns the digest and length of what came.
    pub fn blob(&self, repository: &str, digest: &str) -> Result<(String, u64)> {
        let file = self.scratch.join("blob");
        let path = format!("/v2/{repository}/blobs/{digest}");
        let status = self
            .transfer("GET", &path, [OsStr::new("-o"), file.as_os_str()])?
            .status;
        ensure!(status == 200, "GET {path}: {status}");
        let length = fs::metadata(&file)?.len();
        let found = digest::of_file(&file)?;
        fs::remove_file(&file)?;
        Ok((found, length))
    }

    /// Every tag of a repository, in the registry's order.
    pub fn tags(&self, repository: &str) -> Result<Vec<String>> {
        self.listing(&format!("/v2/{repository}/tags/list"), "tags")
    }

    /// Every repository, in the registry's order.
    pub fn repositories(&self) -> Result<Vec<String>> {
        self.listing("/v2/_catalog?n=1000", "repositories")
    }

    /// A request with more arguments for curl; the answer's body is kept in memory.
    pub fn request<S: AsRef<OsStr>>(
        &self,
        method: &str,
        path: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Answer> {
        let file = tempfile::NamedTempFile::new_in(&self.scratch)?;
        let output: [OsString; 2] = ["-o".into(), file.path().into()];
        let rest = arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned());
        let mut answer = self.transfer(method, path, output.into_iter().chain(rest))?;
        answer.body = fs::read(file.path())?;
        Ok(answer)
    }

    /// A request whose body, if any, goes where the arguments say.
    pub fn transfer<S: AsRef<OsStr>>(
        &self,
        method: &str,
        path: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Answer> {
        // A Location may be a path or a whole URL.
        let url = if path.starts_with('/') {
            format!("{}{path}", self.access.url())
        } else {
            path.to_owned()
        };
        let headers = tempfile::NamedTempFile::new_in(&self.scratch)?;
        let mut curl = Invocation::new("curl")
            .args([
                "-q",
                "--silent",
                "--show-error",
                "--max-time",
                "240",
                "--request",
                method,
            ])
            .arg("--dump-header")
            .arg(headers.path());
        if let (Some(ca), Some(password)) = (self.access.ca(), self.access.password()) {
            curl = curl.arg("--cacert").arg(ca);
            curl = curl
                .arg("--user")
                .arg(format!("{}:{password}", Access::USER));
        }
        curl.args(arguments).arg("--").arg(url).succeed()?;
        Answer::parse(&fs::read_to_string(headers.path())?)
    }

    fn listing(&self, path: &str, field: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let answer = self.get(&path)?;
            ensure!(
                answer.status == 200,
                "GET {path}: {}\n{}",
                answer.status,
                answer.text()
            );
            let page = answer.json()?;
            let page = page.get(field).and_then(|list| list.as_array());
            let page = page.with_context(|| format!("GET {path}: no list `{field}`"))?;
            names.extend(
                page.iter()
                    .filter_map(|name| name.as_str())
                    .map(str::to_owned),
            );
            next = answer
                .header("link")
                .and_then(|link| link.strip_prefix('<')?.split('>').next())
                .map(str::to_owned);
        }
        Ok(names)
    }
}

/// A manifest as it was served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Manifest {
    /// The digest of the bytes.
    pub digest: String,
    /// The answer's `Content-Type`.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Manifest {
    /// The parsed JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.bytes).context("a manifest is not JSON")
    }

    /// The digests below one field: `manifests`, `layers` or `config`.
    pub fn digests(&self, field: &str) -> Result<Vec<String>> {
        let json = self.json()?;
        let descriptors = match json.get(field) {
            None => Vec::new(),
            Some(serde_json::Value::Array(list)) => list.clone(),
            Some(one) => vec![one.clone()],
        };
        descriptors
            .iter()
            .map(|descriptor| {
                let digest = descriptor.get("digest").and_then(|digest| digest.as_str());
                Ok(digest.context("a descriptor without a digest")?.to_owned())
            })
            .collect()
    }
}

/// An HTTP response.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The body, if it was not written elsewhere.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    /// Reads what `--dump-header` wrote; after `100 Continue` the last head counts.
    fn parse(dump: &str) -> Result<Self> {
        let head = dump
            .trim_end()
            .rsplit("\r\n\r\n")
            .next()
            .unwrap_or_default();
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let status = status.with_context(|| format!("no status line in {dump:?}"))?;
        Ok(Self {
            status,
            headers,
            body: Vec::new(),
        })
    }
}
