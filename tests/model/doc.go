// Package model tests the whole API of package txn against a plain map.
//
// A state is a map from names to volumes, a volume a size and a map of pages.
// A transaction of the model is a copy of a state and the list of what was
// done to it, with the results. Each call is made on both sides and compared
// at once, which checks snapshots and the reading of own writes. When the
// engine commits a serializable transaction, its list is done again on the
// newest committed state: each result must come out the same, and what comes
// out is the new state. So the order of commits is a serial order, whatever
// the engine's rule of conflicts is. Under snapshot isolation only the changes
// are done again.
package model
