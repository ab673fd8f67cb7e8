//! What to do about a clause that has failed.

/// Returns where a provider that violates the clause usually has its fault.
pub(crate) fn advice(clause: u32) -> &'static str {
    match clause {
        1 => {
            "list in `ProviderInfo::with_features` exactly what `registry`, `watch` and `config_store` return"
        }
        2 => "return Ok from `connect` and `ping` while the backend answers, also when connected already",
        3 => "return `EndpointSet::unknown_service` where the backend does not know the service",
        4 => "store the field, or refuse the endpoint with `Unsupported` and name the field",
        5 => "replace what has the same service and id",
        6 => "write every field of the endpoint that `update` is given",
        7 => "look whether it exists before writing, and return an error of kind `NotFound` if not",
        8 => "remove it where every reader looks, stop what renews it, and return true",
        9 => "return Ok(false) if there was nothing to remove",
        10 => "compare the whole id and service, and return `NotFound` if there is none",
        11 => "filter with `EndpointSet::matching` or `Query::matches`",
        12 => "write each endpoint by itself, or with a compare-and-swap that is tried again",
        13 => "encode ids for the wire format so that no two become one, or refuse them with `Unsupported`",
        14 => {
            "write the whole endpoint in one request, and keep no lock that a dropped future would leave held"
        }
        15 => "store the claim with the endpoint, or return `Unsupported`; `NotFound` for a missing endpoint",
        20 => "yield the first answer as soon as it is there, also if it is empty",
        21 => "compare each answer with the one yielded before, and wake the task when it differs",
        22 => "yield only what differs from what was yielded before, and go on while nothing changes",
        23 => "give each stream its own position, and let none end the shared work of others",
        30 => "return an error if the backend did not answer, and never a set without the endpoints",
        31 => "yield the error as an item, wait with back-off, and go on",
        32 => {
            "keep the newest set until it was yielded, and the error for after it (`SharedWatches` of the kit does)"
        }
        33 => "keep the newest documents until they were yielded, and the error for after them",
        34 => {
            "use the constructors of `Error` and the codes of `failover_core::codes`; the advice must not be `Never`"
        }
        35 => "connect when it is needed: remember no failure of `connect`, and require no success",
        40 => {
            "store the document as the bytes it is, and answer `load` with the revision that `store` returned"
        }
        41 => {
            "compare `expected` with the current revision in one step with the write; `None` means that none is there"
        }
        42 => "yield all current documents first, and again after each change",
        43 => "refuse it with `Error::document_too_large`, or store the whole document",
        50 => {
            "stop waiting for the backend after a moment, end the streams, and refuse operations until `connect`"
        }
        51 => "redact it in `Debug`, and build errors without the request's headers and URL",
        52 => "use `codes::NOT_FOUND`, `codes::CONFLICT`, and `Error::closed` after closing",
        60 => {
            "read all pages, raise limits of answer sizes, and convert in linear time; a slow backend needs more `patience`"
        }
        61 => "convert entries one by one, and put the bad ones into the set with `EndpointSet::reject`",
        62 => "ask the backend in each `list`, at a consistency that never goes back",
        63 => "write down whose a registration is, and check it in the request that renews or removes it",
        _ => "see docs/provider-contract.md",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::CASES;

    #[test]
    fn each_clause_has_an_advice_of_its_own() {
        let mut all: Vec<_> = CASES.iter().map(|case| advice(case.number)).collect();
        assert!(!all.contains(&advice(0)), "a clause has none");
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), CASES.len());
    }
}
