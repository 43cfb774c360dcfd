// Package pagestoretest is the conformance suite of the page store: what
// package pagestore promises, shown on any disk.
//
//	func TestOS(t *testing.T) {
//		pagestoretest.Run(t, func(t testing.TB) (vfs.FS, string) { return vfs.OS(), t.TempDir() })
//	}
//
// A random history of transactions, checkpoints, holds and reopenings runs on
// the store and on a model, a map of pages to values. After each step the store
// must read as the model does at every snapshot that is held. When nothing is
// held and a checkpoint has been made, the heap's used slots must be exactly
// those that the trees reach: nothing leaks, and nothing in use is free.
//
// Nothing is written to a log: images that a group would have inline lie in
// files that stand for its generations.
package pagestoretest
