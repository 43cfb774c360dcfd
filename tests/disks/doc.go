//go:build disks

// Package disks crashes, fills and breaks real file systems beneath a store. It
// holds tests only.
//
// # Use
//
//	.ci/run disks                              // installs what it needs, with apt
//	go test -tags disks -count=1 -v ./tests/disks
//
// It needs Linux, root, loop devices, mkfs.ext4 and mkfs.xfs, mount, findmnt,
// and strace that may trace. TestKill needs none of these. A test that lacks
// something fails: who asks for the tag wants them. Images and mounts lie below
// the directory for temporary files and are removed.
//
// # What is proven
//
// Package crash tries every operation on a disk in memory whose rules we wrote
// ourselves. This package asks the real thing, at moments that nobody chose:
//
//	TestPowerCut...     ext4 and XFS are shut down (FS_IOC_SHUTDOWN without a flush
//	                    of the journal: what was not synced is gone) beneath a process
//	                    that commits, makes a new store, or recovers from the crash
//	                    before; unmounted, mounted, read
//	TestKill            SIGKILL at the same moments
//	TestDiskFull        ENOSPC is an ordinary error; the store goes on when there is room
//	TestBecomesReadOnly ext4 finds an error and lets nobody write any more (a remount is
//	                    refused while a store is open): typed error, reads go on
//	TestReadOnly        looking at a store that cannot be written, opening it
//	TestSyncFails       each of the first syncs fails (strace), of files and directories
//	TestWriteFails      the same with writes to heap, manifest, files made ready
//	TestLogFails        the same with the log's own writes and syncs: poisons the store
//	TestFileSizeLimit   RLIMIT_FSIZE cuts an append short
//
// # The oracle
//
// A child process, which is the test's own binary, commits from three writers
// and notes each acknowledgement in a file on another disk. Each writer has
// volumes of its own; what its commit k writes follows from the writer and k,
// and every commit writes k into page 0 of both volumes. So a state is known by
// three numbers, and (acks_test.go, oracle_test.go):
//
//  1. The store ends at an LSN at or above every acknowledgement that said
//     durable; no number is below what was there before the child began.
//  2. What was acknowledged is there exactly up to the LSN at which the store
//     ends: buffered commits, one in four, may be missing, but only at the end.
//  3. No writer has more than one commit that was not acknowledged, and the
//     numbers add up to the LSN: nothing else is there.
//  4. Every page, and the absence of pages, is what these commits wrote.
//  5. Verify is content, before opening and after closing.
//
// First this is held against recovery.View, which changes nothing, so that the
// next child meets the crash as it is; now and then against the opened store.
//
// # What it cannot find
//
// Syncs of directories that are left out: both file systems make a new file's
// name durable with its contents. Package crash finds them. A crash here keeps
// what was synced and loses nearly all else; torn and reordered writes are
// package crash's, too.
//
// # Cost
//
// 60 to 90 seconds on two cores, 3 to 5 crashes a second.
package disks
