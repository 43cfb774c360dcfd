// Package apply turns what transactions did into the next state of the store,
// by one function for all who need it: Next, which sequencing uses for a
// transaction that is about to be logged and recovery for one that was.
//
// # Use
//
// A Change says what a transaction does to one ref: a volume, or a tag of it. Prepare reads what
// applying needs and may fail; the Plan it returns has changed nothing.
// Plan.Apply makes the changes in memory and cannot fail, so a transaction is
// refused before it leaves a trace or not at all. Next is both.
//
//	plan, err := apply.Prepare(draft, lsn, changes) // conflicts, unreadable nodes
//	results := plan.Apply(body.Addr)                // the logical tips move
//
// Between the two the sequencer encodes the entry: its states before, its
// normalised discards and its size are known from Plan.Results, and only the
// resulting states, which have a fixed size, are filled in after Apply.
//
// Entry applies an entry of the log. It makes the same Changes of the entry's
// sections, and checks what the entry says against what is here. It is PrepareEntry
// and Prepared.Apply; a follower, which takes entries from elsewhere, calls
// Foretell between the two, so that a result that is not what the entry says
// is found before anything is changed.
//
// # Guarantees
//
//   - Entries apply strictly in the order of LSNs; one that was applied is
//     skipped (promise 3).
//   - Before anything changes these are checked: LSN, previous hash, timeline,
//     epoch, rising time; of a begin-timeline entry its parent; for each section the expected tip and state, the base, the
//     previous change and seq of the ref, the normalised discards. After
//     Apply, in memory, the resulting state. A mismatch is a *MismatchError;
//     the draft it left is dropped, and nothing of it was published.
//   - What is reserved for later versions (range entries, encodings, a volume set
//     to what is not relative to it) is ErrUnsupported, never ignored.
//
// # Tags and forks
//
// A change with From begins at a tip that another ref points to, in the state
// before the entry. Without a delta that is all: a tag points to that tip, a fork
// begins a lineage at it, and a pin keeps it (package pagestore, tips.go). With a
// delta a fork begins with changed pages. A tag cannot: what it is to keep has no
// lineage yet, so it gets one without a name, made like a fork's. That is how a
// tip is tagged or forked that this store still holds and others may not have.
//
//	Apply    pins of all changes, unpins of all, deletions, then the rest
//
// so that an entry may let go of a tip and keep it. A ref that the entry sets
// cannot be its own entry's base: what began there would depend on the order.
//
// # Requests
//
// An entry with actor and seq records what became of that request as part of
// itself: Draft.Admit, behind all else that may fail, then Draft.Advance; by
// sequencing and by Entry alike. An entry whose request is not new here is a
// *MismatchError.
//
// # Where the bytes are
//
// An entry's locators are offsets in its body. Body says what a locator means
// on this disk: InLog for a body inline in the log, InHeap for one in slots.
// Changes carry offsets, and the address is asked for when the page is put into
// the tree; so the sequencer may decide where a body lies as late as it likes.
//
// # Discards
//
// The discards of an entry are normalised: every page of the base, below the
// resulting size, that is absent from the result, as maximal ascending runs.
// What a Truncate dropped below a size that grew again is among them. So the
// delta's identity depends on the two states, not on how a transaction got from
// one to the other.
package apply
