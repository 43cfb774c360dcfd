package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// tagNames are those that transactions give; forks have the origin's, too.
var tagNames = []string{"x", "y"}

// anything is what a tag of a state holds when that is not known: the origin of
// a fork of a held state is some tip behind that one, or there is none.
var anything = &volume{}

// carryTag is how tags begin that are there while a held state is forked. A crash
// may leave them, and only the next fork drops them.
const carryTag = "quire.carry."

func (s state) at(name, tag string) *volume {
	if v := s[name]; v == nil || tag == "" {
		return v
	}
	return s[name].tags[tag]
}

func (s state) setTag(name, tag string, content *volume) {
	v := s.edit(name)
	v.tags = maps.Clone(v.tags)
	if v.tags == nil {
		v.tags = map[string]*volume{}
	}
	if content == nil {
		delete(v.tags, tag)
		return
	}
	v.tags[tag] = content
}

func (s state) fork(name string, content, origin *volume) {
	v := *content
	v.tags = nil
	s[name] = &v
	s.setTag(name, txn.OriginTag, origin)
}

func forkOf(name, from, at string) effect {
	return func(s state) { s.fork(name, s.at(from, at), s.at(from, at)) }
}

func tagOf(name, tag, at string) effect {
	return func(s state) { s.setTag(name, tag, s.at(name, at)) }
}

func untag(name, tag string) effect { return func(s state) { s.setTag(name, tag, nil) } }

func reset(name, tag string) effect {
	return func(s state) {
		v, t := s.edit(name), s.at(name, tag)
		v.pages, v.size = maps.Clone(t.pages), t.size
	}
}

// source opens a volume, or what a tag of it points to; nil when there is none.
func (s *step) source(name string) (from *txn.Volume, at string, err error) {
	if tag := tagNames[s.r.IntN(2)]; s.r.IntN(2) == 0 {
		if from, err = s.At(name, tag); err == nil {
			return from, tag, nil
		}
	}
	from, err = s.Volume(name)
	if errors.Is(err, txn.ErrNoVolume) {
		return nil, "", nil
	}
	return from, "", err
}

// forking makes a fork of what is there, or changes or deletes one, with its tags.
func forking(s *step, own string) error {
	name := []string{"fork", "fork2"}[s.r.IntN(2)]
	v, err := s.Volume(name)
	switch {
	case errors.Is(err, txn.ErrNoVolume):
		of := []string{own, own, "shared", "tiny", "sparse", "fork", "fork2", "moved"}[s.r.IntN(8)]
		from, at, err := s.source(of)
		if from == nil || err != nil {
			return errors.Join(err, s.pages(own, 4096, 1, 24))
		}
		s.effects = append(s.effects, forkOf(name, of, at))
		_, err = s.Fork(name, from)
		return err
	case err == nil && s.r.IntN(3) == 0:
		s.effects = append(s.effects, remove(name))
		return s.DeleteVolume(name)
	}
	for range 1 + s.r.IntN(4) {
		if err == nil {
			err = s.write(v, uint64(s.r.IntN(24)))
		}
	}
	return err
}

// tagging sets, moves or drops a tag.
func tagging(s *step, own string) error {
	name, tag := []string{own, own, "shared", "fork", "sparse"}[s.r.IntN(5)], tagNames[s.r.IntN(2)]
	from, at, err := s.source(name)
	if from == nil || err != nil {
		return errors.Join(err, s.pages(own, 4096, 1, 24))
	}
	v, err := s.Volume(name)
	if err != nil {
		return err
	}
	if s.r.IntN(3) > 0 {
		s.effects = append(s.effects, tagOf(name, tag, at))
		return s.SetTag(v, tag, from)
	}
	if err = s.DeleteTag(v, tag); errors.Is(err, txn.ErrNoTag) {
		return nil
	}
	s.effects = append(s.effects, untag(name, tag))
	return err
}

// back resets a volume to what a tag of it points to.
func back(s *step, own string) error {
	name := []string{own, own, "sparse", "fork"}[s.r.IntN(4)]
	to, at, err := s.source(name)
	if to == nil || at == "" || err != nil {
		return errors.Join(err, tagging(s, own))
	}
	v, err := s.Volume(name)
	if err != nil {
		return err
	}
	s.effects = append(s.effects, reset(name, at))
	return v.Reset(to)
}

// carry forks or tags a state that only a transaction holds by then.
func (l *life) carry(w int, r *rand.Rand) error {
	ctx, stop := context.WithTimeout(context.Background(), l.patience)
	defer stop()
	tx, err := l.o.Begin(ctx, txn.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	own := fmt.Sprintf("%c", 'a'+w)
	name := []string{own, own, "shared", "sparse", "fork"}[r.IntN(5)]
	from, _, err := (&step{Tx: tx, r: r}).source(name)
	if from == nil || err != nil {
		return err
	}
	held, err := contentOf(from)
	if err != nil {
		return err
	}
	for range r.IntN(3) {
		later := []func(*step, string) error{small, shorter, holes, sparse, forking, tagging}[r.IntN(6)]
		if err := l.run(txn.TxOptions{}, later, own, r); err != nil {
			return err
		}
	}
	l.rec.carries()
	to, tag := []string{"fork", "fork2"}[r.IntN(2)], tagNames[r.IntN(2)]
	var c txn.Commit
	var done effect
	if r.IntN(2) == 0 {
		done = func(s state) { s.fork(to, held, anything) }
		c, err = l.o.Manager.Fork(ctx, to, from)
	} else {
		done = func(s state) { s.setTag(name, tag, held) }
		c, err = l.o.SetTag(ctx, name, tag, from)
	}
	if errors.Is(err, txn.ErrVolumeExists) || errors.Is(err, txn.ErrNoVolume) || errors.Is(err, txn.ErrPageSize) {
		return nil // others were there first
	}
	return l.fate(txn.TxOptions{}, c, err, []effect{done})
}

func contentOf(v *txn.Volume) (*volume, error) {
	size, err := v.Size()
	c := &volume{pageSize: v.PageSize(), size: size, pages: map[uint64][]byte{}}
	if err != nil {
		return nil, err
	}
	for p, err := range v.Pages(0, wal.MaxPages) {
		if err != nil {
			return nil, err
		}
		c.pages[p.No] = bytes.Clone(p.Data)
	}
	return c, nil
}

// carries says that a state will be carried, which takes at most two entries that
// nobody hears of: of a tag that is set meanwhile, and dropped.
func (r *recorder) carries() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spare += 2
}

// compareTags reads all that the tags of a volume point to.
func compareTags(tx *txn.Tx, name string, want *volume) error {
	found := 0
	for tag, err := range tx.Tags(name) {
		if err != nil {
			return err
		}
		if strings.HasPrefix(tag.Name, carryTag) {
			continue
		}
		at, err := tx.At(name, tag.Name)
		if err != nil {
			return err
		}
		switch content := want.tags[tag.Name]; content {
		case nil:
			return wrongf("tag %q is there", tag.Name)
		case anything:
			_, err = contentOf(at)
		default:
			found++
			err = compareContent(at, content)
		}
		if err != nil {
			return fmt.Errorf("tag %q: %w", tag.Name, err)
		}
	}
	for tag, content := range want.tags {
		if content == anything {
			continue
		}
		if found--; found < 0 {
			return wrongf("not all tags are there; one of them is %q", tag)
		}
	}
	return nil
}
