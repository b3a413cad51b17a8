//! Kubernetes with small limits, behind nginx with TLS on both sides and its own password file.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use registry_e2e::{Bench, Lane};
use registry_guides::{Pod, Site};

const MANIFESTS: &str = include_str!("../../fixtures/002/manifests.yaml");
const NGINX: &str = include_str!("../../fixtures/002/nginx.conf");

const HOSTS: [(&str, &str); 1] = [("192.168.5.10", "example.com www.example.com")];

fn site(bench: &Bench) -> Result<(Site, Pod)> {
    let site = Site::new(bench, &HOSTS)?;
    site.shell(
        "openssl req -x509 -newkey rsa:2048 -days 90 -nodes -keyout privkey1.pem -out fullchain1.pem \
         -subj /CN=example.com -addext subjectAltName=DNS:example.com,DNS:www.example.com",
    )
    .succeed()?;
    let (certificate, key) = (
        fs::read(site.path("fullchain1.pem"))?,
        fs::read(site.path("privkey1.pem"))?,
    );
    let certs = site.projected(
        "certs",
        &[("domain.crt", &certificate), ("domain.key", &key)],
    )?;
    let volumes = [("image-store", site.path("store")), ("cert-dir", certs)];
    let volumes: Vec<_> = volumes
        .iter()
        .map(|(name, path)| (*name, path.as_path()))
        .collect();
    let pod = Pod::of_manifest(MANIFESTS, &volumes)?;
    Ok((site, pod))
}

#[test]
fn docker_pushes_through_nginx() -> Result<()> {
    let bench = Bench::new(Lane::Heavy)?;
    let (site, pod) = site(&bench)?;
    let docker = site.docker(&pod.image)?;
    docker
        .command("run")
        .args(["--detach", "--network", "host", "--name", "registry"])
        .args(pod.options())
        .arg(&pod.image)
        .succeed()?;
    site.listening(&docker)?;

    // As the guide writes it, nginx refuses it; the port belongs to the server of the upstream.
    site.shell("printf YOURPASSWORD | htpasswd -i -c .htpasswd exampleuser")
        .succeed()?;
    let folder = site.machine().path().display().to_string();
    let text = NGINX
        .replace(
            "/etc/nginx/ssl/dhub/fullchain.pem",
            &format!("{folder}/fullchain1.pem"),
        )
        .replace(
            "/etc/nginx/ssl/dhub/privkey.pem",
            &format!("{folder}/privkey1.pem"),
        )
        .replace("/var/www/dhub/.htpasswd", &format!("{folder}/.htpasswd"))
        .replace("NODE1-IP", "192.168.5.10");
    let around = |site: &str| {
        format!(
            "daemon off;\nuser root;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n\
             http {{\naccess_log off;\nclient_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\n\
             fastcgi_temp_path {folder}/f;\nuwsgi_temp_path {folder}/u;\nscgi_temp_path {folder}/s;\n{site}\n}}\n"
        )
    };
    let config = site.path("nginx.conf");
    let nginx = || site.machine().command("nginx").arg("-c").arg(&config);
    fs::write(&config, around(&text))?;
    let said = nginx().arg("-t").fails()?.all();
    assert!(
        said.contains("upstream \"registry\" may not have port 30299"),
        "{said}"
    );

    // The container shares the machine's network, so that its port is 5000 where the guide's is 30299.
    let fixed = text
        .replace("server 192.168.5.10;", "server 192.168.5.10:5000;")
        .replace("https://registry:30299", "https://registry");
    fs::write(&config, around(&fixed))?;
    nginx().arg("-t").succeed()?;
    let url = "https://example.com/v2/";
    let ca = site.path("fullchain1.pem").display().to_string();
    let probe = || {
        Ok(site
            .curl(&["--cacert", &ca, url])
            .is_ok_and(|(status, _)| status == 401))
    };
    let _nginx = site.machine().daemon(nginx(), probe)?;

    site.trust("example.com", &site.path("fullchain1.pem"))?;
    site.small_image(&docker, "alpine:latest")?;
    docker
        .command("tag")
        .args(["alpine:latest", "example.com/alpine"])
        .succeed()?;
    docker.command("push").arg("example.com/alpine").refused()?;
    // `-e` with a mail address, which the guide adds, is no option of docker any more.
    let said = docker
        .command("login")
        .args(["-u", "exampleuser", "-p", "YOURPASSWORD", "example.com"])
        .succeed()?
        .all();
    assert!(said.contains("Login Succeeded"), "{said}");
    let (pushed, _) = docker.push("example.com/alpine")?;
    docker.forget(&["alpine:latest", "example.com/alpine"])?;
    assert_eq!(docker.pull("example.com/alpine")?.0, pushed);
    Ok(())
}

/// The pod's limits, for a push and a pull of a layer; `GUIDES_LAYER_MIB=1024` makes it 1 GiB.
#[test]
fn a_tenth_of_a_processor_and_100_mib_are_enough() -> Result<()> {
    let mib: u64 = std::env::var("GUIDES_LAYER_MIB").map_or(Ok(48), |text| text.parse())?;
    let bench = Bench::new(Lane::Heavy)?;
    let (site, pod) = site(&bench)?;
    let docker = site.docker(&pod.image)?;
    docker
        .command("run")
        .args(["--detach", "--network", "host", "--name", "registry"])
        .args(["--memory", "100m", "--memory-swap", "100m", "--cpus", "0.1"])
        .args(pod.options())
        .arg(&pod.image)
        .succeed()?;
    site.listening(&docker)?;
    let ca = site.path("fullchain1.pem").display().to_string();
    let v2 = "https://example.com:5000/v2/big";
    site.shell(&format!(
        "dd if=/dev/urandom of=layer bs=1M count={mib} status=none"
    ))
    .succeed()?;
    let sum = site
        .shell("sha256sum layer | cut -d' ' -f1")
        .succeed()?
        .text();
    let limit = Duration::from_secs(120 + mib * 3);
    let curl = |arguments: &str| {
        site.shell(&format!(
            "curl -q --silent --show-error --fail-with-body --cacert {ca} {arguments}"
        ))
        .limit(limit)
    };

    let head = curl(&format!(
        "--request POST --dump-header - --output /dev/null {v2}/blobs/uploads/"
    ))
    .succeed()?
    .text();
    let place = head
        .lines()
        .find_map(|line| {
            line.to_lowercase()
                .starts_with("location: ")
                .then(|| line.get(10..))
                .flatten()
        })
        .context("a Location")?
        .trim()
        .to_owned();
    let joint = if place.contains('?') { '&' } else { '?' };
    let target = format!("'https://example.com:5000{place}{joint}digest=sha256:{sum}'");
    curl(&format!(
        "--http1.1 --request PUT --header 'Content-Type: application/octet-stream' --upload-file layer {target}"
    ))
    .succeed()?;
    let pulled = curl(&format!(
        "{v2}/blobs/sha256:{sum} | sha256sum | cut -d' ' -f1"
    ))
    .succeed()?
    .text();
    assert_eq!(pulled, sum);

    // It was never killed for memory; its own share of it is far below the limit.
    let state = docker.command("inspect").args([
        "--format",
        "{{.State.OOMKilled}} {{.RestartCount}} {{.State.Running}}",
        "registry",
    ]);
    assert_eq!(state.succeed()?.text(), "false 0 true");
    let status = docker
        .command("exec")
        .args(["registry", "cat", "/proc/1/status"])
        .succeed()?
        .text();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("a peak")?;
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse()?;
    println!("{mib} MiB pushed and pulled; the registry's memory was at most {peak} KiB");
    assert!(peak < 90 << 10, "{peak} KiB at the peak");
    Ok(())
}
