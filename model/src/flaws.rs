//! Ways to get the protocol wrong, which the properties must notice.

use clap::ValueEnum;

/// A rule of the protocol that is left out, or a promise that is misread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flaw {
    // Begin and undo
    /// The message goes out first, and the begin follows.
    SendBeforeStore,
    /// A met item is taken for the call's own write when its code is the same.
    OwnWriteToldByCode,
    /// A conflict on the verification is believed less than a refusal beside it.
    RefusalBeforeConflict,
    /// A refusal is believed though an attempt before it had no answer.
    BelieveRefusalInDoubt,
    /// REJECTED and 429 are answered though the undo had no answer, or met another's send.
    RefuseWithoutUndo,
    /// An undo looks for a stored send, whoever carries it out.
    UndoForAnother,
    /// An undo leaves the code alive.
    LeaveUnsentAlive,
    /// An undo voids the verification even if it is verified.
    VoidWhateverState,
    /// The tombstone is put only where no item is, not under the begin's own condition.
    TombstoneOnAbsenceAlone,
    /// An item keeps a begin away until DynamoDB deletes it, and so not from landing after that.
    FreeUntilDeleted,

    // Publish and mark
    /// An unknown publish is undone.
    ReleaseOnUnknown,
    /// A publish is what its last attempt was, whatever became of the first.
    LastAttemptDecides,
    /// The mark has no condition.
    MarkAnything,
    /// The mark is for any send with the same code, not with the same seed.
    MarkToldByCode,
    /// A release of the cap is repeated when its answer is lost.
    RepeatCapRelease,

    // The same key again
    /// A stored send is taken for a running call, whatever its lease says.
    StoredMeansRunning,
    /// A call that took over undoes.
    UndoAfterTakeOver,
    /// A verified or exhausted verification is taken over too.
    TakeOverClosed,
    /// A take-over leaves the code's end where it was.
    TakeOverKeepsOldEnd,
    /// A take-over does not ask the recipient's windows.
    TakeOverWithoutWindow,
    /// A take-over does not ask the caps.
    TakeOverWithoutCaps,
    /// A take-over sends a code of its own.
    FreshCodeOnTakeOver,
    /// A code that is too old to be taken over is replaced without a begin, so without a charge.
    FreshCodeUncharged,

    // Guesses
    /// A guess is compared with what was read, and counted in a second write.
    CompareBeforeCount,
    /// A guess leaves no call id by which a repeated write knows itself.
    CountWithoutCallId,
    /// A condition that fails on a repeated guess is taken for the guess's own success.
    TakeLostWriteForSuccess,
    /// A recipient's failure is told from a repeated one by the last failure alone.
    FailureCountedByLast,
}
