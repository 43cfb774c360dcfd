package pagestore

// dirtyNodeBytes is about what a catalogue node takes in memory from when it is
// changed until a checkpoint has written it, with what it keeps of the one before.
const dirtyNodeBytes = 8 << 10

// DirtyBytes is about what catalogue nodes take in memory that were changed since
// the last checkpoint began: two or three for each volume changed, if there are so
// many that no two lie in one node.
func (s *Store) DirtyBytes() int64 { return s.dirty.Load() * dirtyNodeBytes }

// keepMap is how many elements a map may have had that is used again: one that
// was large once takes its size to go through, ever after.
const keepMap = 256

// emptied is m without its elements, or another empty map.
func emptied[K comparable, V any](m map[K]V) map[K]V {
	if len(m) > keepMap {
		return map[K]V{}
	}
	clear(m)
	return m
}
