//! `docker-compose.yml` says what the program takes: it is read here, not run.

use crate::support::{program, repository};
use crate::tidy::sources;
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

fn read(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn compose() -> Value {
    read(&fs::read_to_string(repository("docker-compose.yml")).unwrap())
}

fn members(value: &Value) -> Vec<(&String, &Value)> {
    value.as_object().into_iter().flatten().collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().expect("a text")).collect()
}

/// Whether a tag names one release: it begins with two numbers at least.
fn is_pinned(image: &str) -> bool {
    let Some((_, tag)) = image.rsplit_once(':') else { return false };
    let tag = tag.trim_start_matches('v');
    let numbers = tag.split(['.', '-']).take_while(|part| part.parse::<u32>().is_ok()).count();
    numbers >= 2 && !image.contains('$')
}

#[test]
fn images_are_pinned_and_checked_for_health() {
    for (name, service) in members(&compose()["services"]) {
        let image = service["image"].as_str().unwrap();
        assert!(is_pinned(image), "{name}: {image}");
        assert!(service["healthcheck"]["test"].is_array(), "{name} has no health check");
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port} is open to others");
        }
    }
    let compose = compose();
    let build = compose["services"]["millstream"]["build"]["dockerfile_inline"].as_str().unwrap();
    let bases: Vec<&str> =
        build.lines().filter_map(|line| line.strip_prefix("FROM ")?.split(' ').next()).collect();
    assert_eq!(bases.len(), 2, "{bases:?}");
    assert!(bases.iter().all(|base| is_pinned(base)), "{bases:?}");
    let rust = fs::read_to_string(repository("Cargo.toml")).unwrap();
    let version = rust.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    assert!(bases[0].starts_with(&format!("rust:{}", version.trim_matches('"'))), "{}", bases[0]);
    assert!(!is_pinned("debian:latest") && !is_pinned("debian") && !is_pinned("a/b:17"));
    assert_eq!(
        compose["services"]["millstream"]["image"],
        format!("millstream:{}", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_build_copies_what_is_there() {
    let compose = compose();
    let build = compose["services"]["millstream"]["build"]["dockerfile_inline"].as_str().unwrap();
    let mut copied = BTreeSet::new();
    for line in build.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from")) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        for source in &words[..words.len() - 1] {
            assert!(repository(source).exists(), "there is no {source}");
            copied.insert(source.to_string());
        }
    }
    // What the sources take in at compile time is copied too.
    let taken_in = Regex::new(r#""(?:(?:\.\./)+([a-z]+)/|([a-z]+)/timescale")"#).unwrap();
    let mut needed: BTreeSet<String> =
        ["Cargo.toml", "Cargo.lock", "src", "benches"].map(str::to_owned).into();
    for file in sources(&repository("src")) {
        let text = fs::read_to_string(file).unwrap();
        let names = taken_in.captures_iter(&text).filter_map(|found| found.get(1).or(found.get(2)));
        needed.extend(names.map(|name| name.as_str().to_owned()));
    }
    assert!(needed.contains("queries") && needed.contains("schemas"), "{needed:?}");
    assert_eq!(copied, needed);
}

#[test]
fn settings_of_the_program_are_settings_of_the_program() {
    let help = program().args(["serve", "--help"]).output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let compose = compose();
    let service = &compose["services"]["millstream"];
    assert_eq!(texts(&service["command"]), ["serve"]);
    let environment = &service["environment"];
    assert!(environment.get("DATABASE_URL").is_some());
    for (name, value) in members(environment) {
        assert!(help.contains(&format!("[env: {name}")), "millstream serve knows no {name}");
        // What is reached under a name is a service, on the port that it has.
        let value = value.as_str().unwrap();
        let Some((_, rest)) = value.split_once("://") else { continue };
        let host = rest.split('/').next().unwrap().rsplit('@').next().unwrap();
        let (host, port) = host.split_once(':').unwrap();
        let ports = texts(&compose["services"][host]["ports"]);
        let wanted = format!(":{port}");
        assert!(ports.iter().any(|open| open.ends_with(&wanted)), "{name}: {host} has {ports:?}");
    }
    let listen = environment["MILLSTREAM_LISTEN"].as_str().unwrap();
    let port = listen.rsplit(':').next().unwrap();
    let door = environment["MILLSTREAM_POSTGRES"].as_str().unwrap().rsplit(':').next().unwrap();
    assert_eq!(
        texts(&service["ports"]),
        [port, door].map(|port| format!("127.0.0.1:{port}:{port}"))
    );
    assert!(texts(&service["healthcheck"]["test"]).contains(&&*format!("http://127.0.0.1:{port}")));
    let database = environment["DATABASE_URL"].as_str().unwrap();
    let made = &compose["services"]["timescaledb"]["environment"];
    let [user, password, name] = ["POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"]
        .map(|name| made[name].as_str().unwrap());
    assert!(database.contains(&format!("//{user}:{password}@")), "{database}");
    assert!(database.contains(&format!("/{name}?")), "{database}");
}

#[test]
fn whatever_is_named_is_there() {
    let compose = compose();
    let (services, volumes, configs) =
        (&compose["services"], &compose["volumes"], &compose["configs"]);
    let mut used = BTreeSet::new();
    for (name, service) in members(services) {
        for volume in texts(&service["volumes"]) {
            let source = volume.split(':').next().unwrap();
            match source.starts_with('.') {
                true => assert!(repository(source).exists(), "{name}: there is no {source}"),
                false => assert!(volumes.get(source).is_some(), "{name}: there is no {source}"),
            }
            used.insert(source.to_owned());
        }
        for (other, how) in members(&service["depends_on"]) {
            assert!(services.get(other).is_some(), "{name}: there is no {other}");
            let condition = how["condition"].as_str().unwrap();
            assert!(["service_started", "service_healthy"].contains(&condition), "{condition}");
        }
        for config in service["configs"].as_array().into_iter().flatten() {
            let source = config["source"].as_str().unwrap();
            assert!(configs[source]["content"].is_string(), "{name}: there is no {source}");
            used.insert(source.to_owned());
        }
    }
    for (name, _) in members(volumes).into_iter().chain(members(configs)) {
        assert!(used.contains(name), "nothing uses {name}");
    }
}

#[test]
fn prometheus_and_grafana_look_at_the_services() {
    let compose = compose();
    let content = |name: &str| read(compose["configs"][name]["content"].as_str().unwrap());
    let scrape = &content("prometheus")["scrape_configs"][0];
    assert_eq!(scrape["metrics_path"], "/metrics");
    assert_eq!(texts(&scrape["static_configs"][0]["targets"]), ["millstream:7878"]);
    let grafana = content("grafana");
    let database = compose["services"]["timescaledb"]["environment"].clone();
    let [postgres, prometheus] = [0, 1].map(|i| &grafana["datasources"][i]);
    assert_eq!(postgres["url"], "timescaledb:5432");
    assert_eq!(postgres["user"], database["POSTGRES_USER"]);
    assert_eq!(postgres["secureJsonData"]["password"], database["POSTGRES_PASSWORD"]);
    assert_eq!(postgres["jsonData"]["database"], database["POSTGRES_DB"]);
    assert_eq!(prometheus["url"], "http://prometheus:9090");
    let door = &grafana["datasources"][2];
    assert_eq!(door["url"], "millstream:5433");
    let mounted = |service: &str, source: &str| -> String {
        let configs = compose["services"][service]["configs"].as_array().unwrap();
        let config = configs.iter().find(|config| config["source"] == source).unwrap();
        config["target"].as_str().unwrap().to_owned()
    };
    let environment = &compose["services"]["millstream"]["environment"];
    assert_eq!(environment["MILLSTREAM_POSTGRES_USERS"], mounted("millstream", "postgres-users"));
    let folder = &content("grafana-dashboards")["providers"][0]["options"]["path"];
    for dashboard in ["grafana-plant", "grafana-engine"] {
        let (folder, file) = (folder.as_str().unwrap(), mounted("grafana", dashboard));
        assert!(file.starts_with(&format!("{folder}/")) && file.ends_with(".json"), "{file}");
    }
    let sources: Vec<&Value> =
        grafana["datasources"].as_array().unwrap().iter().map(|source| &source["uid"]).collect();
    let panels = panels();
    assert!(panels.iter().all(|panel| sources.contains(&&panel["datasource"]["uid"])));
    // What is asked of Prometheus is told by the program.
    let names = Regex::new("millstream_[a-z_]+").unwrap();
    let told: String = sources_text();
    let of_prometheus = panels.iter().filter(|panel| panel["datasource"]["uid"] == "prometheus");
    let mut metrics = 0;
    for target in of_prometheus.flat_map(|panel| panel["targets"].as_array().unwrap()) {
        for name in names.find_iter(target["expr"].as_str().unwrap()) {
            assert!(told.contains(&format!("\"{}\"", name.as_str())), "{}", name.as_str());
            metrics += 1;
        }
    }
    assert!(metrics > 5);
}

fn sources_text() -> String {
    sources(&repository("src")).iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// A file of Compose as the container has it: two dollars are one.
pub fn config(name: &str) -> String {
    compose()["configs"][name]["content"].as_str().unwrap().replace("$$", "$")
}

/// All panels of Grafana.
pub fn panels() -> Vec<Value> {
    let dashboard = |name: &str| -> Value { serde_json::from_str(&config(name)).unwrap() };
    let both = ["grafana-plant", "grafana-engine"].map(dashboard);
    both.iter().flat_map(|board| board["panels"].as_array().unwrap().clone()).collect()
}
