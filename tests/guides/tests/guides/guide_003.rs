//! `docker run` with TLS and a password, by variables.

use anyhow::Result;
use registry_e2e::{Bench, Lane};
use registry_guides::Site;

#[test]
fn docker_logs_in_pushes_and_pulls() -> Result<()> {
    let bench = Bench::new(Lane::Heavy)?;
    let site = Site::new(&bench, &[])?;
    site.shell("mkdir -p auth certs data").succeed()?;
    site.shell(
        "openssl req -newkey rsa:4096 -nodes -sha256 -x509 -days 356 -keyout certs/registry-cert.key \
         -out certs/registry-cert.crt \
         -subj '/C=US/ST=Massachusetts/L=Boston/O=Continuul LLC/CN=continuul.io'",
    )
    .succeed()?;
    let docker = site.docker("registry:2")?;
    let line = docker
        .command("run")
        .args(["--rm", "--network", "none", "--entrypoint", "htpasswd"])
        .args(["registry:2", "-Bbn", "admin", "2secret"])
        .succeed()?;
    std::fs::write(site.path("auth/htpasswd"), line.text())?;

    let folder = site.machine().path().display();
    docker
        .command("run")
        .args([
            "-d",
            "--network",
            "host",
            "--restart=always",
            "--name",
            "registry",
        ])
        .args(["-v", &format!("{folder}/auth:/auth")])
        .args(["-v", &format!("{folder}/certs:/certs")])
        .args(["-v", &format!("{folder}/data:/data")])
        .args([
            "-e",
            "REGISTRY_HTTP_TLS_CERTIFICATE=/certs/registry-cert.crt",
        ])
        .args(["-e", "REGISTRY_HTTP_TLS_KEY=/certs/registry-cert.key"])
        .args(["-e", "REGISTRY_AUTH=htpasswd"])
        .args(["-e", "REGISTRY_AUTH_HTPASSWD_REALM=Registry Realm"])
        .args(["-e", "REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd"])
        .arg("registry:2")
        .succeed()?;
    site.listening(&docker)?;

    let login = |password: &str| {
        docker
            .command("login")
            .args(["-u", "admin", "-p", password, "localhost:5000"])
    };
    login("guessed").refused()?;
    assert!(
        login("2secret")
            .succeed()?
            .all()
            .contains("Login Succeeded")
    );
    site.small_image(&docker, "continuul/site:latest")?;
    docker
        .command("tag")
        .args(["continuul/site:latest", "localhost:5000/continuul/site:0.1"])
        .succeed()?;
    let (pushed, _) = docker.push("localhost:5000/continuul/site:0.1")?;

    // How to list what is there the guide leaves open.
    let (status, body) = site.curl(&[
        "--insecure",
        "--user",
        "admin:2secret",
        "https://localhost:5000/v2/_catalog",
    ])?;
    assert_eq!(
        (status, body.trim()),
        (200, r#"{"repositories":["continuul/site"]}"#)
    );

    // It pushes `0.1` and pulls `latest`, which is not there.
    let said = docker
        .command("pull")
        .arg("localhost:5000/continuul/site:latest")
        .fails()?
        .all();
    assert!(said.contains("manifest unknown"), "{said}");
    docker.forget(&["continuul/site:latest", "localhost:5000/continuul/site:0.1"])?;
    assert_eq!(docker.pull("localhost:5000/continuul/site:0.1")?.0, pushed);
    Ok(())
}
