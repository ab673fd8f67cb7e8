//! The defects, each with the clause that it violates.

/// `Flaw`, and `FLAWS` as a table: clause, and at least two ways to violate it.
macro_rules! flaws {
    ($($clause:literal $($flaw:ident)+;)+) => {
        /// A defect of a provider.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Flaw { $($($flaw),+),+ }

        /// Each defect, and the only clause that it violates.
        pub(crate) const FLAWS: &[(Flaw, u32)] = &[$($((Flaw::$flaw, $clause)),+),+];
    };
}

flaws! {
    1 NamesNoRegistry NamesNoWatch;
    2 CannotConnectTwice PingFails;
    3 UnknownServiceIsAnError InventsAnEndpoint;
    4 DropsMetadata RoundsTimes;
    5 KeepsTheFirstRegistration KeepsBothRegistrations;
    6 LosesAnUpdate UpdateKeepsTheWeight;
    7 UpdateRegisters UpdateOfNothingWorks;
    8 Resurrects DeregisterDenies;
    9 MissingIsAnError MissingWasThere;
    10 GetsSomebodyElse MissingIsInvalid;
    11 IgnoresTags IgnoresMetadata;
    12 ForgetsTheLast LosesConcurrentWrites;
    13 CutsIdsAtTheSlash FoldsCase;
    14 WritesInTwoSteps StaysLockedWhenDropped;
    15 ForgetsClaims ClaimsAboutNothingWork;
    20 BeginsEmpty BeginsLate;
    21 NeverWakes MissesRemovals;
    22 Floods EndsWhileCalm;
    23 OneWatchForAll DropEndsAll;
    30 EmptiesOnAnError ListsFromACache;
    31 EndsOnAnError HidesErrors;
    32 YieldsAnErrorFirst LosesASetToAnError;
    33 YieldsADocumentsErrorFirst LosesADocumentToAnError;
    34 OutageIsInvalid OutageHasAnOddCode;
    35 BreaksOnAFailedConnect NeedsAConnect;
    40 CutsDocuments LoadsAnotherRevision;
    41 IgnoresCompareAndSwap OverwritesWithoutARevision;
    42 ConfigNeverWakes ConfigBeginsLate;
    43 MiscallsALargeDocument CutsALargeDocument;
    50 BlocksClose WatchesOutliveClose ListsAfterClose;
    51 LeaksASecretInDebug LeaksASecretInAnError;
    52 MiscallsAConflict MiscallsAClosedProvider;
    60 ListsOnePage WatchesOnePage;
    61 OneBrokenEntrySpoilsAll DropsTheNeighbours DropsBrokenEntriesSilently PanicsOnABrokenEntry;
    62 ListsTheFirstAnswerForever AnswersFromALaggingReplica;
    63 CloseDeregistersASuccessor RenewsOverASuccessor ClaimsASuccessor;
}
