package pagetree

import (
	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/wal"
)

// Damage is a part of a tree that cannot be read.
type Damage struct {
	First, Pages uint64 // page numbers: the page, or all that lie below a node
	Present      uint64 // of them, as the parent of what is lost says
	Birth        wal.LSN
	Err          error
}

// Survey reads all of t and goes on past what is damaged. It is for reports: Check is
// what verifies sums. Memory: one path of nodes.
func Survey(t Tree, src node.Source, o SurveyOptions) error {
	s := survey{src: src, pages: t.pages, SurveyOptions: o}
	if h := t.Height(); h > 0 && t.root.knot != nil {
		_, err := s.node(t.root, h, 0)
		return err
	}
	if t.only.Addr == 0 {
		return nil
	}
	_, err := s.page(0, t.only)
	return err
}

// SurveyOptions are what Survey asks and tells. An error ends it.
type SurveyOptions struct {
	Known func(addr uint64) bool           // was all that lies there and below read before, and found whole? Then it is skipped
	Whole func(addr uint64) error          // it is so from now on; nodes that are in memory only are not told of
	Read  func(page uint64, e Entry) error // verifies the image of a page
	Lost  func(Damage) error               // what cannot be read
}

type survey struct {
	src   node.Source
	pages uint64
	SurveyOptions
}

// node reports whether all below l is whole.
func (s *survey) node(l link, h int, first uint64) (bool, error) {
	addr := l.knot.slot.Load()
	if addr != 0 && s.Known(addr) {
		return true, nil
	}
	b, err := l.knot.load(s.src, h)
	if err != nil {
		return false, s.Lost(Damage{First: first, Pages: min(span(h), s.pages-min(first, s.pages)), Present: l.count, Birth: l.knot.birth, Err: err})
	}
	whole := true
	for place, pos := range b.places {
		at, ok := first+uint64(place)*span(h-1), false
		if h > 1 {
			ok, err = s.node(b.kids[pos], h-1, at)
		} else {
			ok, err = s.page(at, b.leaf[pos])
		}
		if err != nil {
			return false, err
		}
		whole = whole && ok
	}
	if whole && addr != 0 {
		err = s.Whole(addr)
	}
	return whole, err
}

func (s *survey) page(no uint64, e Entry) (bool, error) {
	if s.Known(e.Addr) {
		return true, nil
	}
	if err := s.Read(no, e); err != nil {
		return false, s.Lost(Damage{First: no, Pages: 1, Present: 1, Birth: e.Birth, Err: err})
	}
	return true, s.Whole(e.Addr)
}
