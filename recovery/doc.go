// Package recovery opens stores: it decides what of a log is valid after
// whatever happened, makes the store whole again, and says what it did. It also
// looks at stores without opening them, and checks all of one.
//
// # Use
//
//	Open       recovers the store and readies it for writing; txn.Open calls it
//	View       one state of a store, read-only, also beside a running service
//	OpenTail   its log with images, as it becomes durable, also beside a service
//	Verify     reads and checks everything, changes not one byte
//	Assess     when Verify finds something: what is lost by it, in volumes, pages
//	           and entries, and whether the store opens
//	Examine    manifest and log only: what Open would find
//	OpenSalvage  what of a damaged store's log is whole; package repair builds on it
//	LockHolder who has the store open
//
// # Guarantees
//
//  1. Nothing at or below a durable mark is ever cut (promise 8). What is wrong
//     there is a *wal.CorruptError that names file, offset and LSN.
//  2. An Open that refuses a store has not changed a byte of it, but for the
//     owner's name in LOCK; where there is no store it makes no LOCK. Nodes and
//     entries that replay needs are part of what is checked first; pages are
//     not, they are verified when they are read, or by Verify.
//  3. Open may be interrupted anywhere and repeated, with the same result
//     (promise 7). It applies entries with the code that commits use.
//  4. Bytes from before a kill are not believed because the page cache shows
//     them: what is not known durable is written anew and synced first.
//  5. View and Verify write nothing, take no lock and make no file. Links,
//     FIFOs, directories in a file's place and strange names are refused, not
//     followed.
//
// # What Open does
//
// In this order. Up to examine nothing is changed; dropFiles and sweep alone
// remove anything. A crash behind any step repeats from the start and ends the same.
//
//	step       does                                          holds after it
//	lock       takes LOCK                                    nobody else writes
//	create     makes the manifest of a new store; refuses    there is a manifest
//	           to when anything of a store is there
//	examine    manifest, names, every frame of the log and   all that opening needs was read and
//	           its chain, images above the mark; rehearses   is sound; b (first LSN without a
//	           the replay in memory                          valid frame) is above D (known durable)
//	openStore  writes the manifest anew, by rename           the manifest is on the disk, not only
//	                                                         in the page cache
//	reserve    marks slots that entries behind the           no allocation can touch what the log
//	           checkpoint, or a consumer, name               or the checkpoint names
//	keepTail   copies the bytes from b on to quarantine/     what is cut can be looked at later
//	startLog   makes a generation the manifest does not name the old log is as it was
//	rewrite    writes entries in (D, b) anew into it, images every entry kept is synced somewhere
//	           above the mark to new slots; syncs
//	begin      in a new store, writes LSN 1; behind a        the log is a follower's, or begins its
//	           promotion, and in what may be a copy, the     timeline
//	           entry that begins a timeline
//	dropFiles  removes heap files that neither the manifest  none is left below one that the
//	           nor a record names                            manifest is about to name
//	adopt      names the new generation, role and place      the new log stands for the old tail,
//	           in the manifest, then writes and syncs a      and no older manifest passes any more
//	           mark under it
//	retire     cuts the old files at D, seals them in the    every generation but the new one is
//	           manifest, frees the slots copied from         sealed: any damage to it is corruption
//	replay     applies the entries behind the checkpoint     the newest state is published
//	sweep      counts and removes stages, old copies of      nothing is left that belongs to no
//	           tails, generations of no state                state
//
// # The torn tail
//
// A kill may leave groups of commits that were never acknowledged in full. The
// rule is wal.Scan's: everything from b on goes, valid frames behind b too,
// since they are of groups that were not acknowledged; if b is not above D it
// is corruption instead. Report.Cut says where, how many bytes and entries, and
// why the record at b is not valid; Report.CutFiles are the copies.
//
// # Reading a Report
//
//	Role, Demoted         writer or follower; whether opening made it one (role.go)
//	Began                 why opening began a timeline
//	Copied                the directory is another than before: the store may be a
//	                      copy, and is one of its own from now on (place.go)
//	Clean                 the store had been closed; then there is no Cut
//	Checkpoint, Last      replay went from one to the other
//	Replayed              entries applied again, in ReplayedBytes of log
//	Rewritten             of them, those not known durable: after a kill, the
//	                      last group or two
//	Cut, CutFiles         bytes of commits that nobody was told of; nil is usual
//	TornManifest          bytes of a manifest record that was being written
//	Stages                transactions in flight that had staged pages on disk;
//	                      Stages.Tails: copies of earlier tails, removed since
//	                      there were more than quarantine.MaxTails
//	Leftovers             files that were being made
//
// # Reading a VerifyReport
//
// Problems is what is wrong: empty means that every acknowledged commit is
// there and readable. Cut, TornManifest and Leftovers are what a kill leaves
// and no problem. Slots adds up: each slot is reached by the newest state
// (Current), held back because the checkpoint or the log behind it still needs
// it (Checkpoint, Log) or a consumer has older log still to read (Consumers), or
// Free. What the manifest says is in use and nothing
// reaches is Leaked, and a problem. Verify goes on as far as it can; when the
// manifest or the catalogue cannot be read, what hangs on it is not looked at.
//
// # Reading a Loss
//
// Extent is how bad it is: nothing (slots that nobody needs, files to be moved away),
// history (tags, entries that only consumers and followers still read), state, or
// everything, when the manifest is gone. Log are entries that were durable and are not
// whole; Lost are pages, by volume and tag, of the newest state that can be reached,
// that after entry At. Where At is below Durable, entries behind it may be whole and yet
// lost: what comes before them is not there.
//
// # Design
//
// Assess goes on where Verify stops: heap files that are damaged are left out, a tree
// is read past a node that is not whole (the pages below it are lost), and the log is
// taken apart into runs of whole records (wal.Salvage), which hashes join again.
//
// Verify and View share look (view.go): the page store opened read-only at its
// checkpoint, and the log replayed over it in memory. Verify first notes which
// slots the log names, then walks the checkpoint's trees, taking each slot met
// out of the manifest's set, then reads the images of the entries behind it,
// replays them, and walks the newest trees. Both times it holds the catalogue's
// records to each other: names, refs and lineages, actors and their outcomes.
//
// A service that writes goes on while View reads. Slots are verified against
// the hash that their parent holds, so what was written anew meanwhile is an
// error, never wrong data; Viewed.Moved tells it from damage. What goes wrong
// while View makes its snapshot is looked at again from the manifest on, for
// some seconds, and believed when it is found twice and neither manifest nor
// log moved in between; ErrMoving says that they never stood still.
//
// # Files
//
// LOCK, with the owner's name. All others belong to the packages that write
// them.
package recovery
