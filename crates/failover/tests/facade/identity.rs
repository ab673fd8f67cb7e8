//! The facade re-exports the items of the crates behind it, not copies.

use std::any::TypeId;

macro_rules! identical {
    ($from:ident, [$($($name:ident)::+ $(<$argument:ty>)?),* $(,)?]) => {
        $(assert_eq!(
            TypeId::of::<failover::$($name)::+$(<$argument>)?>(),
            TypeId::of::<$from::$($name)::+$(<$argument>)?>(),
            stringify!($($name)::+),
        );)*
    };
}

#[test]
fn the_types_of_the_facade_are_those_of_the_core() {
    identical!(
        failover_core,
        [
            inspect::Availability,
            inspect::BreakerState,
            CallError<()>,
            Classified,
            Clock,
            config::CircuitBreakerConfig,
            probe::ProbeTarget,
            Completed<()>,
            Endpoint,
            provider::EndpointEntry,
            EndpointId,
            provider::EndpointSet,
            Error,
            ErrorKind,
            events::Event,
            FailoverConfig,
            FailoverManager,
            Health,
            HealthCheck,
            Lifecycle,
            NoEndpoints,
            Outcome,
            provider::ProviderInfo,
            provider::Query,
            Random,
            ServiceHandle,
            ServiceName,
            inspect::ServiceStats,
        ]
    );
}

#[test]
fn a_classifier_of_the_core_is_one_of_the_facade() {
    fn facade<C: failover::Classify<(), String>>() {
        fn core<C: failover_core::Classify<(), String>>() {}
        core::<C>();
    }
    facade::<failover_core::OkIsSuccess>();
}

#[cfg(feature = "memory")]
#[test]
fn the_provider_in_memory_is_that_of_its_own_crate() {
    use failover::memory;
    assert_eq!(TypeId::of::<memory::MemoryProvider>(), TypeId::of::<failover_memory::MemoryProvider>());
    assert_eq!(TypeId::of::<memory::MemoryCluster>(), TypeId::of::<failover_memory::MemoryCluster>());
}

/// Compiles only if implementations of the facade's traits implement core's.
#[cfg(feature = "memory")]
#[test]
fn a_provider_of_the_facade_is_one_of_the_core() {
    fn facade<P: failover::provider::Provider + failover::provider::Registry>() {
        fn core<P: failover_core::provider::Provider + failover_core::provider::Registry>() {}
        core::<P>();
    }
    facade::<failover_memory::MemoryProvider>();
}
