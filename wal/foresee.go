package wal

// Gen is the generation that the group goes to.
func (g *Group) Gen() GenID { return g.gen.id }

// Foresee says at which byte of the generation's file Add would put the first
// inline byte of e's record, which the sequencer must know before it knows the
// states that e results in: these have a fixed size. The errors are those that
// Add would return for want of room. Nothing changes.
func (g *Group) Foresee(e *Entry, body Body) (inline int64, err error) {
	l := g.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.mayAdd(g, e, body); err != nil {
		return 0, err
	}
	used := g.used()
	b, err := AppendEntry(g.buf[:used], e)
	if err != nil {
		return 0, err
	}
	g.buf = b[:used]
	head := int64(frameHeader + len(b) - used + extentSize*len(body.Extents))
	record := head + int64(len(body.Inline))
	switch size := lengthPrefix(record) + record; {
	case record > MaxRecord:
		return 0, tooLarge(e.First, int(record))
	case g.size+size > l.opts.groupBytes():
		return 0, ErrGroupFull
	}
	return g.gen.planned + lengthPrefix(record) + head, nil
}
