// Package snapshot keeps snapshots of a store in an archive: whole ones, and
// increments that hold what changed since an earlier one.
//
// # Use
//
//	m, err := snapshot.Take(ctx, store, held, snapshot.Options{Increment: true})  // held: a pagestore.Snapshot
//	list, err := snapshot.List(ctx, store, timeline)
//	chain, err := snapshot.Chain(ctx, store, list[0].Position(), identities)    // whole one first
//	for _, m := range chain {
//		r := snapshot.NewReader(ctx, store, m, identities)
//		err = loader.Load(m.Head(), r)                                         // a pagestore.Loader
//		r.Close()
//	}
//
// # What is stored
//
// The portable form of a pagestore.Snapshot (pagestore's portable_format.go) is
// cut into parts of PartBytes, wherever that falls. Each part is a sealed object
// under a key of its own attempt; the manifest, which names them with their
// checksums, is put last:
//
//	logs/<timeline>/snap/<lsn>/part/<attempt>-<number>
//	logs/<timeline>/snap/<lsn>/manifest
//
// So a snapshot is there when its manifest is, whole; what an attempt left that
// did not come so far is rubbish, which nothing names. Two that take one at the same
// LSN meet at the manifest's key: the store decides, and the other takes the
// winner's for its own, if that is of the same history.
//
// An increment names its base by position. What it holds is found by births, so
// that nothing of the base is kept in the store; the base need not be this
// store's own, as long as its position lies in this history. ChooseBase chooses it so that
// the chain that a snapshot needs is short, however many there are.
//
// Merge puts a snapshot once more, as an increment on an older one of its chain or whole, under
// snap/<lsn>/merged/<number>: so that those between need not be kept. Both are the same
// state; readers take either.
//
// # Guarantees
//
//   - A snapshot is of one LSN, whatever is committed meanwhile, and holds all log
//     facts of it: volumes, tags, forks, tips that they keep, outcomes of requests.
//   - Its manifest has a digest of all refs and their states, to be compared with
//     that of what was loaded (Digest of a pagestore.Snapshot).
//   - What a Reader returns was verified part by part: header, checksum, and the
//     sum that the manifest has. Images are verified against the hashes of their
//     pages when they are loaded, and trees against their sums.
//   - Memory: PartBytes, a few times (Take: 8, Reader: 6); Merge: MergeOptions.CacheBytes as well,
//     and a store on the disk meanwhile.
//   - Who takes one beside others paces it (Options.GiveWay): it is told of every piece
//     of the work, a fraction of a millisecond, and may wait behind it. Only the disk, or
//     the network, is not shared out by that. Parts are compressed for speed.
//
// # Errors
//
//	archive.ErrLocked  none of the identities opens it
//	objects.ErrNotFound  there is no such snapshot, or a part is missing
//	wal.ErrCorrupt, wal.ErrVersion  an object is damaged, or a newer Quire's
//	ErrDiverged        at the same LSN there is a snapshot of another history
//	pins.ErrLapsed     the archive was out of reach for too long: take it again
//	ErrNoArchive       nobody has begun the archive: ship.Open does
//	ErrBase            the base is not before the snapshot, or not in the archive
//	objects.ErrUnknown  the manifest was put, and the answer lost: it may be there
package snapshot
