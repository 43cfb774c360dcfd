package model

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/quire-db/quire/txn"
)

// tagNames are those that the model gives. The tags of origins that forks have
// beside them are not part of it.
var tagNames = []string{"x", "y"}

// place is a volume, or a tag of one.
type place struct{ volume, tag string }

func drawPlace(t *rapid.T, label string) place {
	return place{name(t, label), rapid.SampledFrom([]string{"", "", "x", "y"}).Draw(t, label+" at")}
}

func (p place) String() string { return strings.TrimSuffix(p.volume+"@"+p.tag, "@") }

func (p place) open(x *txn.Tx) (*txn.Volume, error) {
	if p.tag == "" {
		return x.Volume(p.volume)
	}
	return x.At(p.volume, p.tag)
}

// in is the place in a state; without one, word says why.
func (p place) in(s State) (v *Volume, word string) {
	switch v := s[p.volume]; {
	case v == nil:
		return nil, "none"
	case p.tag == "":
		return v, ""
	case v.Tags[p.tag] == nil:
		return nil, "no tag"
	default:
		return v.Tags[p.tag], ""
	}
}

// copied is the content, without tags.
func (v *Volume) copied() *Volume {
	return &Volume{PageSize: v.PageSize, Size: v.Size, Pages: maps.Clone(v.Pages)}
}

func (v *Volume) setTag(name string, to *Volume) {
	if v.Tags == nil {
		v.Tags = map[string]*Volume{}
	}
	v.Tags[name] = to
}

// between makes an op that begins from a place and changes a volume.
func between(what string, from place, to string, real func(x *txn.Tx, from *txn.Volume) error, model func(s State, from *Volume) string) op {
	return op{name: fmt.Sprintf("%s %s: %s", from, what, to), write: true,
		real: func(x *txn.Tx) string {
			v, err := from.open(x)
			if err == nil {
				err = real(x, v)
			}
			return word(err)
		},
		model: func(s State, readOnly bool) string {
			v, missing := from.in(s)
			if v == nil {
				return missing
			}
			return model(s, v)
		}}
}

// onVolume is between for what needs the other volume, too.
func onVolume(what string, from place, to string, real func(x *txn.Tx, v, from *txn.Volume) error, model func(v, from *Volume) string) op {
	return between(what, from, to,
		func(x *txn.Tx, f *txn.Volume) error {
			v, err := x.Volume(to)
			if err == nil {
				err = real(x, v, f)
			}
			return err
		},
		func(s State, f *Volume) string {
			if s[to] == nil {
				return "none"
			}
			return model(s[to], f)
		})
}

func forkTo(from place, to string) op {
	return between("forked", from, to,
		func(x *txn.Tx, f *txn.Volume) error { _, err := x.Fork(to, f); return err },
		func(s State, f *Volume) string {
			if s[to] != nil {
				return "exists"
			}
			s[to] = f.copied()
			return "ok"
		})
}

// forkAndDelete ends what it forks.
func forkAndDelete(from place, to string) op {
	fork := forkTo(from, to)
	return op{name: fork.name + ", then deleted", write: true,
		real: func(x *txn.Tx) string {
			w := fork.real(x)
			if w == "ok" {
				w = word(x.DeleteVolume(from.volume))
			}
			return w
		},
		model: func(s State, readOnly bool) string {
			w := fork.model(s, readOnly)
			if w == "ok" {
				delete(s, from.volume)
			}
			return w
		}}
}

func tagTo(from place, to, tag string) op {
	return onVolume("tagged "+tag, from, to,
		func(x *txn.Tx, v, f *txn.Volume) error { return x.SetTag(v, tag, f) },
		func(v, f *Volume) string {
			if v.PageSize != f.PageSize {
				return "page size"
			}
			v.setTag(tag, f.copied())
			return "ok"
		})
}

func renameTag(n, from, to string) op {
	return onVolume("renamed tag "+to, place{n, from}, n,
		func(x *txn.Tx, v, f *txn.Volume) error {
			return errors.Join(x.SetTag(v, to, f), x.DeleteTag(v, from))
		},
		func(v, f *Volume) string {
			delete(v.Tags, from)
			v.setTag(to, f)
			return "ok"
		})
}

func untag(n, tag string) op {
	return onVolume("untagged", place{n, tag}, n,
		func(x *txn.Tx, v, _ *txn.Volume) error { return x.DeleteTag(v, tag) },
		func(v, _ *Volume) string { delete(v.Tags, tag); return "ok" })
}

func reset(from place, to string) op {
	return onVolume("reset", from, to,
		func(x *txn.Tx, v, f *txn.Volume) error { return v.Reset(f) },
		func(v, f *Volume) string {
			if v.PageSize != f.PageSize {
				return "incomparable"
			}
			v.Size, v.Pages = f.Size, maps.Clone(f.Pages)
			return "ok"
		})
}

func drawTip(t *rapid.T) op {
	from, to := drawPlace(t, "from"), name(t, "to")
	tags := rapid.Permutation(tagNames).Draw(t, "tags")
	switch rapid.IntRange(0, 9).Draw(t, "tip") {
	case 0, 1:
		return forkTo(from, to)
	case 2:
		return forkAndDelete(from, to)
	case 3:
		return untag(to, tags[0])
	case 4:
		return renameTag(to, tags[0], tags[1])
	case 5, 6:
		return reset(from, to)
	default:
		return tagTo(from, to, tags[0])
	}
}

// readTag reads all that a tag points to.
func readTag(p place) op {
	return op{name: "read " + p.String(),
		real: func(x *txn.Tx) string {
			v, err := p.open(x)
			if err != nil {
				return word(err)
			}
			s, err := digestOf(v, 0, 1<<42)
			return s + word(err)
		},
		model: func(s State, _ bool) string {
			v, missing := p.in(s)
			if v == nil {
				return missing
			}
			return v.digest() + "ok"
		}}
}

func listTags(n string) op {
	return op{name: "tags of " + n,
		real: func(x *txn.Tx) string {
			var list []string
			for tag, err := range x.Tags(n) {
				if err != nil {
					return word(err)
				}
				if tag.Name != txn.OriginTag {
					list = append(list, tag.Name)
				}
			}
			return fmt.Sprint(list)
		},
		model: func(s State, _ bool) string {
			if s[n] == nil {
				return "none"
			}
			return fmt.Sprint(slices.Sorted(maps.Keys(s[n].Tags)))
		}}
}

// tip commits a transaction that forks, tags or resets. Others may have been
// faster.
func (r *run) tip(t *rapid.T) {
	r.beginWith(t, txn.TxOptions{Durability: txn.Durability(rapid.IntRange(0, 1).Draw(t, "durability"))})
	x := r.txs[len(r.txs)-1]
	r.forget(x)
	r.call(t, x, drawTip(t))
	if len(r.txs) > 0 && rapid.IntRange(0, 3).Draw(t, "another first") == 0 {
		r.commit(t)
	}
	r.end(t, x)
}

// tipRace commits a transaction that has looked at tags before others moved them.
func (r *run) tipRace(t *rapid.T) {
	r.beginWith(t, txn.TxOptions{})
	x := r.txs[len(r.txs)-1]
	r.forget(x)
	n := name(t, "volume")
	if rapid.Bool().Draw(t, "list") {
		r.call(t, x, listTags(n))
	} else {
		r.call(t, x, readTag(place{n, rapid.SampledFrom(tagNames).Draw(t, "tag")}))
	}
	r.tip(t)
	r.tags++
	r.call(t, x, write(name(t, "written"), 0, r.tags))
	r.end(t, x)
}

// carry forks or tags what a reader holds.
func (r *run) carry(t *rapid.T) {
	i := slices.IndexFunc(r.txs, func(x *tx) bool { return x.opts.ReadOnly })
	if i < 0 {
		r.beginWith(t, txn.TxOptions{ReadOnly: true})
		return // and is there the next time
	}
	x, from, to := r.txs[i], drawPlace(t, "held"), name(t, "to")
	v, err := from.open(x.real)
	held, missing := from.in(x.state)
	if missing != "" || err != nil {
		if word(err) != missing {
			t.Fatalf("%v: %v, want %s", from, err, missing)
		}
		return
	}
	var o op
	if rapid.Bool().Draw(t, "fork") {
		_, err = r.m.Fork(context.Background(), to, v)
		o = forkTo(place{"held", ""}, to)
	} else {
		_, err = r.m.SetTag(context.Background(), to, "x", v)
		o = tagTo(place{"held", ""}, to, "x")
	}
	r.now["held"] = held
	want := o.model(r.now, false)
	delete(r.now, "held")
	if word(err) != want {
		t.Fatalf("held %v, %s: %v, want %s", from, o.name, err, want)
	}
	r.lsn = r.m.Stats().Published
}
