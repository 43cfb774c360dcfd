// Package backup holds whole archives against what their stores were: logs, packs,
// snapshots whole and incremental, blobs, marks and several timelines, with and
// without encryption, all restored for real. It holds tests only.
//
// # Use
//
//	go test ./tests/backup                               // a light form, below 10 seconds
//	HISTORY=2000 go test -count=1 -v ./tests/backup      // the heavy one, of .ci/run backups
//
// HISTORY is the number of commits of the long history; with it every file is damaged
// in every way, and every call of the object store is one at which a process is killed.
// Without it a part of them, spread evenly. The command txnctl is built for it.
//
// # The history and its oracle
//
// A world (world_test.go) is a store that lives: volumes of several page sizes are made,
// written, truncated, renamed, deleted, forked, tagged and reset, pages discarded, some by
// numbered requests of actors, some so much at once that their images become blobs.
// Meanwhile its log is shipped, packed, and snapshots are taken, each fourth a whole
// one. Twice on the way the store is lost: another one is restored from the archive,
// some commits short of the end, and goes on in a timeline of its own.
//
// The model (model_test.go) is maps of pages. It computes each state's sum from its
// own bytes, and knows nothing of trees, entries or snapshots. Beside it each LSN has the
// digest that the living store had. What is restored to an LSN must have the position,
// the time, the digest, and of every volume and tag the page size, size and sum that the
// model has; of some all pages are read, and requests are sent again.
//
// # The promises, and their tests
//
//	every LSN, and times between             TestHistory/EveryLSN, /EveryTime; TestEncryptedHistory
//	dates of files mean nothing              TestHistory/DatesOfFiles
//	any single file spoilt: verify finds     TestEverySingleFile: deleted, cut, lengthened,
//	it, no restore is wrong, what does not   flipped, exchanged with another, put elsewhere;
//	need it works                            verify is the command itself, with the key and
//	                                         without, and what it promises can be restored
//	killed at every call: the next finishes  TestKilledAtEveryCall: archive, snapshots, pack, prune,
//	                                         restore, each a process that dies by SIGKILL
//	two archivers never fork an archive      TestArchiversAtOnce: processes, some killed
//
// Stores and archives lie in memory (/dev/shm) where there is any: 2,000 restores
// are 100,000 synced files, and what a power cut leaves is the business of others.
package backup
