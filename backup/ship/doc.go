// Package ship is the log side of an archive: the Archiver, which ships entries
// as they become durable, Pack, which merges what was shipped into fewer objects, the
// Reader, which returns it, and Verify.
//
// # Use
//
//	a, err := ship.Open(ctx, store, history, ship.Options{})  // begins an archive, or finds its end
//	src, stop := ship.Pull(ctx, entriesBehind(a.Position()))  // of a txn.Manager; or Poll of a recovery.Tail
//	err = a.Run(ctx, src)                                     // until ctx ends, or it must stop
//	st := a.Status()                                          // from anywhere
//
//	r, err := ship.OpenReader(ctx, store, ship.ReadOptions{})
//	for item, err := range r.Entries(ctx, timeline, 1, 0) {
//		err = follower.Apply(ctx, item.Entry, item.Images)
//	}
//	report, err := ship.Verify(ctx, store, ship.ReadOptions{})
//	packed, err := ship.Pack(ctx, store, timeline, ship.PackOptions{})  // now and then, beside all that
//
// # The archiver
//
// It holds three positions: seen, the last entry of the stream that was checked;
// shipped, up to which the archive has the same history; while the archive is known
// to be further than the stream, awaited, where the two will be compared; and, while the
// stream is behind what the archive lacks, the leap to a snapshot.
//
//	state     holds                               next
//	gathering the batch follows shipped           the batch is MaxBytes, or the last put Interval ago: flush
//	flushing  put append/<first of the batch>     nil: look for the floor, gathering
//	                                              exists: adopt
//	adopting  the object's header was read        it ends within the batch, same hash: the rest is flushed
//	                                              it ends beyond: awaiting
//	                                              other hashes: DivergedError
//	awaiting  the stream is read, not shipped     at the position, same hash: gathering
//	                                              the store does not go that far: AheadError
//	below     an append put lies below a floor    taken back; in a pack: awaiting the archive's end
//	                                              in none: StalledError
//	leaping   the stream leaves entries out       behind a snapshot: skip, gathering
//	                                              there is none: GapError
//	begin     the stream begins a timeline        flush, mark the old log, put the new log's start
//	stopped   Run has returned                    Open anew
//
// Every put is put-if-absent by first LSN, so of two archivers one puts the next
// entries and the other adopts them. A lost answer is put again, and found to exist:
// adopted, too. So there is no state outside of the archive: whoever opens it
// finds out by listing where it ends, and goes on.
//
// What stops it changes nothing: GapError (the stream leaves entries out, and no
// snapshot covers them), DivergedError, AheadError, StalledError (it put what was below a floor, took it
// back, and found no pack that has it), archive.ErrImage (an image is no longer what the entry says), settled answers of the
// object store (objects.ErrForeign, ErrFailed), damage of the archive. All other errors of
// the object store are tried again, with a wait that doubles up to Retry.Most, half
// of it left to chance, until the context ends or Retry.Tries are used up.
//
// # Gaps
//
// A log may be trimmed before it was shipped: nobody can archive these entries any more.
// The archive goes on when a snapshot of this history, at LSN S, covers all of them: the
// stream has the entry behind S, and perhaps some before. Then (skip.go)
//
//  1. the lowest such snapshot is chosen whose manifest is whole;
//  2. its hash is compared with that of entry S in the stream, or the one that the entry
//     behind it names: a copy's snapshot is passed over;
//  3. a skip is put where the log ends, by the very key that the next append would
//     have: it names the range up to S, and the hashes before and at its end. Where the
//     log ends on an older timeline, there is one up to where that was left, and one
//     from the beginning of the snapshot's;
//  4. the next append is that of S+1.
//
// What the stream has before S is left out: it could not be restored either. Of
// two archivers of which one still has the entries, put-if-absent decides as ever: the
// append or the skip, and the other adopts it, by its hash. So a skip forks nothing. Readers
// and Verify tell a skip from what was lost: GapError.Next, Report.Skipped. Whoever
// deletes snapshots knows that states behind a skip need one at its end or later.
//
// A timeline that the stream went through without any entry being archived has no log.
//
// # Guarantees
//
//   - An archive has one history a timeline, whatever archivers, copies of stores and
//     crashes do: each append continues the one before by LSN and hash.
//   - Status.Shipped is durable in the archive, with all images and blobs.
//   - A store rolled back, or copied, is told so before it ships anything of another
//     history; whoever read the archive before reads the same afterwards.
//   - A Reader yields entries in order without a gap, each verified, or an error
//     that names what is missing or damaged. An end is the end only if no mark
//     says otherwise.
//   - Packing loses nothing at any moment, whoever packs, ships or reads at the same
//     time, and wherever it is cut off.
//   - Where several objects have an entry, a damaged one does not keep it from
//     being read.
//   - Verify reads every object once, those that overlap perhaps twice, and names by key
//     whatever is not as it was put. The one change of a single file that it reports as
//     harmless (Unmarked) is the loss of a mark, which loses no entry.
//
// # Assumptions
//
// The stream has durable entries only: what is archived is never taken back. The
// store of objects passed objects.Probe. Nobody changes or deletes objects but by
// the rules of package archive.
//
// # Limits
//
//	Options.MaxBytes     4 MiB   of frames in one append, at most 64 MiB
//	Options.Interval     1 s     between two puts
//	Options.InlineBytes  8 MiB   payload beside its entry; larger ones go to blobs
//	Options.BlobBytes    16 MiB
//	Options.MarkEvery    64      appends
//	PackOptions.MaxBytes 32 MiB  of frames in a pack, at most 256 MiB
//	MinAppends, MinPacks 256, 16 objects that make a pack
//	Retry                100 ms to 30 s between tries, 2 min a try
//
// Memory of an Archiver: about four times MaxBytes and InlineBytes together, or
// four times BlobBytes. Of a Reader: what archive.Entries takes, and 16 bytes an
// object of the log; of Verify about 200 bytes an object; of Pack four times its
// MaxBytes.
//
// # Not there
//
// Objects of snapshots are verified as sealed objects only: package snapshot looks into
// them. Pack holds a pin; Reader and Verify leave that to their callers, and without one
// what is deleted meanwhile may be reported as missing. Nothing here trims a log, or
// deletes leftovers but those of packing: package retain does.
package ship
