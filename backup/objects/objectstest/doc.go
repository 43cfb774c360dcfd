// Package objectstest is for the tests of whoever implements objects.Store, and of
// what is built on one.
//
// # Use
//
// An implementation runs two tests, in a package whose TestMain gives Child the
// first word, since the second starts the test's program several times:
//
//	func TestMain(m *testing.M) { objectstest.Child(open); os.Exit(m.Run()) }
//
//	func TestConformance(t *testing.T) {
//		objectstest.Run(t, func(t *testing.T) objects.Store { ... an empty one ... })
//	}
//
//	func TestProcesses(t *testing.T) { objectstest.RunProcesses(t, t.TempDir(), open) }
//
// where open opens the store at a location, in any process.
//
// What is built on a store is tested on a Counted one. One run counts the calls;
// then each run cuts another call off, before it or behind it, by an error, by an
// unknown outcome, or by killing the process:
//
//	for n := range calls {
//		store := objectstest.Count(real)
//		store.At(n, objectstest.LoseAnswer)
//		... work; then look at real, and work again on it ...
//	}
package objectstest
