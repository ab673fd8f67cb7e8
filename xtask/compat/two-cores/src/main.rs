//! Does not compile: the provider implements the trait of another version of core.

fn main() {
    let _ = failover_core::FailoverManager::builder().provider(failover_memory::MemoryProvider::new());
}
