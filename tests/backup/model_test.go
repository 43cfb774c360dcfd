package backup_test

import (
	"bytes"
	"maps"

	"github.com/quire-db/quire/wal"
)

// state is what a store holds, by the names of its volumes. It is never changed:
// commits make new ones, which share what stays.
type state map[string]*volume

// volume is the model of one. Absent pages are not in the map.
type volume struct {
	pageSize int
	size     uint64
	pages    map[uint64][]byte
	tags     map[string]*volume // of which pages and sizes count
}

// edit makes a state in which one volume may be changed.
func (s state) edit(name string) (state, *volume) {
	s = maps.Clone(s)
	v := *s[name]
	v.pages, v.tags = maps.Clone(v.pages), maps.Clone(v.tags)
	s[name] = &v
	return s, &v
}

func (s state) without(name string) state {
	s = maps.Clone(s)
	delete(s, name)
	return s
}

func (s state) with(name string, v *volume) state {
	s = maps.Clone(s)
	s[name] = v
	return s
}

func (v *volume) write(no uint64, page []byte) {
	v.size = max(v.size, no+1)
	if bytes.Count(page, []byte{0}) == len(page) {
		delete(v.pages, no)
		return
	}
	v.pages[no] = page
}

func (v *volume) truncate(size uint64) {
	v.size = size
	maps.DeleteFunc(v.pages, func(no uint64, _ []byte) bool { return no >= size })
}

// sum is computed of the bytes.
func (v *volume) sum() wal.State {
	s := wal.State{PageSize: uint32(v.pageSize), Pages: v.size}
	for no, page := range v.pages {
		s.Sum = s.Sum.Add(wal.HashPage(no, page))
	}
	return s
}

// sums are the states of volumes, and of their tags as "volume@tag".
func (s state) sums() map[string]wal.State {
	all := map[string]wal.State{}
	for name, v := range s {
		all[name] = v.sum()
		for tag, t := range v.tags {
			all[name+"@"+tag] = t.sum()
		}
	}
	return all
}
