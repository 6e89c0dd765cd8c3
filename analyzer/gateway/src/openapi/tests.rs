use super::*;
use crate::binding::bindings;
use prost_reflect::DescriptorPool;

const ABOUT: About<'_> = About { title: "Isotherm", version: "1", description: "All of it." };

fn told() -> (Vec<Binding>, Value) {
    let pool = DescriptorPool::decode(isotherm_proto::DESCRIPTORS).unwrap();
    let bindings = bindings(&pool).unwrap();
    let document = document(&bindings, ABOUT);
    (bindings, document)
}

#[test]
fn every_binding_is_an_operation_with_words() {
    let (bindings, document) = told();
    let operations: Vec<&Value> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .collect();
    assert_eq!(operations.len(), bindings.len());
    for operation in &operations {
        assert_ne!(operation["summary"], "", "{}", operation["operationId"]);
    }
    let mut ids: Vec<_> = operations.iter().map(|operation| operation["operationId"].to_string()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), operations.len());
}

#[test]
fn all_that_is_referred_to_is_there() {
    let (_, document) = told();
    let text = document.to_string();
    let names = text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap());
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let missing: Vec<_> = names.filter(|name| !schemas.contains_key(*name)).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn an_operation_has_its_parameters_and_comments() {
    let (_, document) = told();
    let explain = &document["paths"]["/v1/partitions/{partition}:explain"]["get"];
    assert_eq!(explain["parameters"][0]["in"], "path");
    assert_eq!(explain["parameters"][0]["description"], "`system/name` or `name`.");
    let risks = &document["paths"]["/v1/risks"]["get"];
    let names: Vec<_> = risks["parameters"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["top", "order", "partition", "fields"]);
    assert_eq!(
        risks["responses"]["200"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/ListRisksResponse"
    );
    let freeze = &document["paths"]["/v1/freeze"]["post"];
    assert_eq!(freeze["parameters"].as_array().unwrap().len(), 1);
    assert_eq!(
        freeze["requestBody"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/FreezeRequest"
    );
    let node = &document["components"]["schemas"]["Node"];
    assert!(node["required"].as_array().unwrap().contains(&"name".into()));
    assert!(!node["required"].as_array().unwrap().contains(&"lag_ms".into()));
    assert_eq!(document["components"]["schemas"]["FreezeRequest"]["additionalProperties"], false);
}
