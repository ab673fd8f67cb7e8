//! The documented manifests: an API server accepts them, and everything they refer to exists.

use serde_json::Value;

use crate::harness::calm;

const DEPLOY: &str = include_str!("../../../../examples/k8s/deploy.yaml");
const DOCKERFILE: &str = include_str!("../../../../examples/k8s/Dockerfile");
const MANIFEST: &str = include_str!("../../../../examples/k8s/Cargo.toml");
const PROGRAM: &str = include_str!("../../../../examples/k8s/src/main.rs");

#[test]
fn the_documentation_shows_the_rights_that_the_tests_have() {
    let page = include_str!("../../../../docs/kubernetes.md");
    assert!(
        page.contains(crate::harness::RBAC),
        "docs/kubernetes.md shows another version of examples/k8s/rbac.yaml"
    );
}

/// Returns the argument forms that the program accepts: `["serve", name, address, port]`.
fn forms() -> Vec<Vec<String>> {
    let arms = PROGRAM.lines().filter_map(|line| line.trim().strip_prefix("[\"")?.split_once("] =>"));
    arms.map(|(form, _)| form.split(',').map(|word| word.trim().trim_matches('"').to_owned()).collect())
        .collect()
}

#[tokio::test]
async fn the_deployment_is_taken_by_an_api_server_and_all_that_it_names_is_there() {
    let Some(space) = calm().await else { return };
    // Unknown and duplicate fields are errors here.
    space.plane.apply(DEPLOY, &space.namespace).await;
    let get = async |path: &str| -> Value {
        let answer = space.plane.request(space.plane.admin(), "GET", path, "").await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        serde_json::from_str(&answer.body).expect("JSON")
    };
    let name =
        MANIFEST.lines().find_map(|line| line.strip_prefix("name = ")).expect("a name").trim_matches('"');
    for line in [
        format!("RUN cargo build --release --package {name} --features program --bin {name}-program"),
        format!("COPY --from=build /src/target/release/{name}-program /usr/local/bin/{name}"),
        format!("ENTRYPOINT [\"{name}\"]"),
    ] {
        assert!(DOCKERFILE.lines().any(|one| one == line), "the Dockerfile has no line {line}");
    }
    let bin = format!("name = \"{name}-program\"\npath = \"src/main.rs\"");
    assert!(MANIFEST.contains(&bin), "the program has another name than the Dockerfile's");
    let forms = forms();
    assert_eq!(forms.iter().map(|form| &*form[0]).collect::<Vec<_>>(), ["serve", "call"]);
    let namespace = &space.namespace;
    for (path, form) in [
        (format!("/apis/apps/v1/namespaces/{namespace}/deployments/users"), &forms[0]),
        (format!("/apis/batch/v1/namespaces/{namespace}/jobs/caller"), &forms[1]),
    ] {
        let object = get(&path).await;
        let template = &object["spec"]["template"];
        let account = template["spec"]["serviceAccountName"].as_str().expect("an account");
        get(&space.path("serviceaccounts", account)).await;
        let [container] = template["spec"]["containers"].as_array().expect("containers").as_slice() else {
            panic!("one container: {template}")
        };
        assert_eq!(container["image"], name, "what the Dockerfile makes");
        assert!(container.get("command").is_none(), "the image says what is run");
        let args: Vec<_> =
            container["args"].as_array().expect("arguments").iter().filter_map(Value::as_str).collect();
        assert_eq!((args.len(), args[0]), (form.len(), &*form[0]), "{args:?} is none of {forms:?}");
        for variable in args.iter().filter_map(|arg| arg.strip_prefix("$(")?.strip_suffix(')')) {
            let known =
                container["env"].as_array().expect("variables").iter().any(|one| one["name"] == variable);
            assert!(known, "$({variable}) stays as it is, since no variable is of that name");
        }
        if let Some(port) = container["ports"][0]["containerPort"].as_u64() {
            assert_eq!(args.last().copied(), Some(&*port.to_string()), "it listens where it says");
        }
        // The pod that the controllers, absent here, would create from it.
        let pod = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
            "metadata": {"generateName": "x-", "labels": template["metadata"]["labels"]},
        });
        let path = format!("{}?dryRun=All&fieldValidation=Strict", space.path("pods", ""));
        let answer = space.plane.request(space.plane.admin(), "POST", &path, &pod.to_string()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}
