package txn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/quire-db/quire/txn"
)

// Two transactions begin on the same state, both run, the first commits. What
// the second one gets is said for both isolations: nil, or the conflict.
func TestIsolation(t *testing.T) {
	type step = func(tx *txn.Tx) error
	const name = "v"
	do := func(steps ...step) step {
		return func(tx *txn.Tx) error {
			for _, s := range steps {
				if err := s(tx); err != nil {
					return err
				}
			}
			return nil
		}
	}
	on := func(f func(*txn.Volume) error) step {
		return func(tx *txn.Tx) error {
			v, err := tx.Volume(name)
			if err != nil {
				return err
			}
			return f(v)
		}
	}
	write := func(no uint64) step { return func(tx *txn.Tx) error { return put(tx, name, no, 1000+no) } }
	writeIn := func(volume string, no uint64) step {
		return func(tx *txn.Tx) error { return put(tx, volume, no, 1000+no) }
	}
	read := func(no uint64) step { return func(tx *txn.Tx) error { _, err := get(tx, name, no); return err } }
	readIn := func(volume string, no uint64) step {
		return func(tx *txn.Tx) error { _, err := get(tx, volume, no); return err }
	}
	discard := func(no uint64) step { return on(func(v *txn.Volume) error { return v.DiscardPage(no) }) }
	truncate := func(n uint64) step { return on(func(v *txn.Volume) error { return v.Truncate(n) }) }
	size := on(func(v *txn.Volume) error { _, err := v.Size(); return err })
	readAt := func(off int64, n int) step {
		return on(func(v *txn.Volume) error {
			_, err := v.ReadAt(make([]byte, n), off)
			if err == io.EOF {
				err = nil
			}
			return err
		})
	}
	writeAt := func(off int64, n int) step {
		return on(func(v *txn.Volume) error { _, err := v.WriteAt(make([]byte, n), off); return err })
	}
	iterate := func(from, to uint64) step {
		return on(func(v *txn.Volume) error {
			for _, err := range v.Pages(from, to) {
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	fails := func(want error, s step) step {
		return func(tx *txn.Tx) error {
			if err := s(tx); !errors.Is(err, want) {
				return fmt.Errorf("%v, want %w", err, want)
			}
			return nil
		}
	}
	open := func(volume string) step { return func(tx *txn.Tx) error { _, err := tx.Volume(volume); return err } }
	create := func(volume string) step {
		return func(tx *txn.Tx) error { _, err := tx.CreateVolume(volume, txn.VolumeOptions{}); return err }
	}
	remove := func(volume string) step { return func(tx *txn.Tx) error { return tx.DeleteVolume(volume) } }
	rename := func(from, to string) step { return func(tx *txn.Tx) error { return tx.RenameVolume(from, to) } }
	undone := func(s step) step {
		return func(tx *txn.Tx) error {
			sp, err := tx.Savepoint()
			if err == nil {
				err = s(tx)
			}
			return errors.Join(err, tx.RollbackTo(sp))
		}
	}

	page := func(no uint64) *txn.ConflictError { return &txn.ConflictError{Name: name, Page: no, What: "page"} }
	phantom := func(no uint64) *txn.ConflictError {
		return &txn.ConflictError{Name: name, Page: no, What: "range"}
	}
	what := func(w string) *txn.ConflictError { return &txn.ConflictError{Name: name, What: w} }
	cases := []struct {
		name                   string
		first, second          step
		serializable, snapshot *txn.ConflictError
	}{
		{"write skew", do(read(0), read(1), write(0)), do(read(0), read(1), write(1)), page(0), nil},
		{"write skew over two volumes", do(read(0), writeIn("w", 0)), do(readIn("w", 0), write(0)),
			&txn.ConflictError{Name: "w", What: "page"}, nil},
		{"lost update", do(read(5), write(5)), do(read(5), write(5)), page(5), page(5)},
		{"blind writes of one page", write(5), write(5), nil, page(5)},
		{"writes of different pages", do(read(5), write(5)), do(read(6), write(6)), nil, nil},
		{"read only of what changes", write(5), read(5), nil, nil},
		{"phantom", do(iterate(100, 200), write(150)), do(iterate(100, 200), write(160)), phantom(150), nil},
		{"phantom beside the range", do(iterate(100, 200), write(150)), do(iterate(151, 200), write(160)), nil, nil},
		{"phantom at the edge", write(199), do(iterate(100, 200), write(300)), phantom(199), nil},
		{"iterated page discarded", discard(7), do(iterate(0, 10), write(300)), phantom(7), nil},
		{"iterated page written", write(7), do(iterate(0, 10), write(300)), phantom(7), nil},
		{"loop left early still read the range", write(9), do(on(func(v *txn.Volume) error {
			for range v.Pages(0, 10) {
				break
			}
			return nil
		}), write(300)), phantom(9), nil},
		{"read page discarded", discard(3), do(read(3), write(9)), page(3), nil},
		{"read absent page written", write(500), do(read(500), write(9)), page(500), nil},
		{"read absent page discarded", do(discard(500), write(8)), do(read(500), write(9)), nil, nil},
		{"discarded by both", discard(3), discard(3), nil, page(3)},
		{"discarded unread, written", write(3), discard(3), nil, page(3)},
		{"size read, volume grown", write(2000), do(size, write(9)), what("size"), nil},
		{"size read, volume cut", truncate(900), do(size, write(9)), what("size"), nil},
		{"size read, page written", write(8), do(size, write(9)), nil, nil},
		{"growth unread", write(2000), write(9), nil, nil},
		{"both grow", write(2000), write(3000), nil, nil},
		{"read beyond the end, volume grown", write(2000), do(fails(txn.ErrPageRange, read(1500)), write(9)), what("size"), nil},
		{"discard beyond the end, volume grown", write(2000), do(discard(2000), write(9)), what("size"), nil},
		{"ReadAt the end, volume grown", write(2000), do(readAt(999*4096, 9000), write(9)), what("size"), nil},
		{"ReadAt within, volume grown", write(2000), do(readAt(998*4096, 100), write(9)), nil, nil},
		{"ReadAt over two pages", write(5), do(readAt(5*4096-1, 2), write(9)), page(5), nil},
		{"WriteAt in parts of one page", do(writeAt(5*4096, 10)), do(writeAt(5*4096+50, 10)), page(5), page(5)},
		{"WriteAt of whole pages is blind", write(5), writeAt(5*4096, 4096), nil, page(5)},
		{"read page cut", truncate(900), do(read(950), write(9)), what("size"), nil},
		{"read page cut, size as before", do(truncate(5), truncate(1000)), do(read(7), write(3)), page(7), nil},
		{"iterated pages cut, size as before", do(truncate(5), truncate(1000)), do(on(func(v *txn.Volume) error {
			for range v.Pages(7, 8) {
			}
			return nil
		}), write(3)), phantom(7), nil},
		{"cut unread", truncate(5), truncate(8), nil, what("size")},
		{"truncate over a write", write(9), truncate(5), nil, what("size")},
		{"written under a truncate", truncate(5), write(9), nil, page(9)},
		{"volume deleted", remove(name), write(9), what("name"), what("existence")},
		{"volume deleted and made anew", do(remove(name), create(name)), write(9), what("name"), what("existence")},
		{"deleted by both", remove(name), remove(name), what("name"), what("existence")},
		{"deleted although written", write(9), remove(name), nil, what("size")},
		{"volume renamed", rename(name, "x"), write(9), what("name"), what("name")},
		{"renamed by both", rename(name, "x"), rename(name, "y"), what("name"), what("name")},
		{"renamed and written", rename(name, "x"), do(read(5), write(9)), what("name"), what("name")},
		{"written and renamed", write(9), rename(name, "x"), nil, nil},
		{"name looked for, then given", rename("w", "x"), do(fails(txn.ErrNoVolume, open("x")), write(9)),
			&txn.ConflictError{Name: "x", What: "name"}, nil},
		{"name looked for, then made", create("x"), do(fails(txn.ErrNoVolume, open("x")), write(9)),
			&txn.ConflictError{Name: "x", What: "name"}, nil},
		{"name found, then gone", remove("w"), do(open("w"), write(9)), &txn.ConflictError{Name: "w", What: "name"}, nil},
		{"only read, then deleted", remove("w"), do(readIn("w", 0), write(9)), &txn.ConflictError{Name: "w", What: "name"}, nil},
		{"only read, then renamed", rename("w", "x"), do(readIn("w", 0), write(9)), &txn.ConflictError{Name: "w", What: "name"}, nil},
		{"written, undone and read, then renamed", rename("w", "x"), do(undone(writeIn("w", 0)), readIn("w", 0), write(9)),
			&txn.ConflictError{Name: "w", What: "name"}, nil},
		{"made by both", create("x"), create("x"), &txn.ConflictError{Name: "x", What: "name"}, &txn.ConflictError{Name: "x", What: "name"}},
		{"made, and renamed to", create("x"), rename("w", "x"), &txn.ConflictError{Name: "x", What: "name"}, &txn.ConflictError{Name: "x", What: "name"}},
		{"different names made", create("x"), create("y"), nil, nil},
		{"read, then rolled back to before", write(5), do(undone(do(read(5), write(5))), write(9)), page(5), nil},
		{"written, then rolled back to before", write(5), do(undone(write(5)), write(9)), nil, nil},
	}
	for _, c := range cases {
		for iso, want := range map[txn.Isolation]*txn.ConflictError{txn.Serializable: c.serializable, txn.Snapshot: c.snapshot} {
			t.Run(fmt.Sprintf("%s/%d", c.name, iso), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, txn.Options{})
				r.volume(name, 20)
				r.volume("w", 20)
				r.update(do(truncate(1000)))
				first, second := r.begin(txn.TxOptions{Isolation: iso}), r.begin(txn.TxOptions{Isolation: iso})
				if err := errors.Join(c.first(first), c.second(second)); err != nil {
					t.Fatal(err)
				}
				if _, err := first.Commit(context.Background()); err != nil {
					t.Fatal(err)
				}
				before := r.Stats().Published
				_, err := second.Commit(context.Background())
				var got *txn.ConflictError
				if errors.As(err, &got) {
					if r.Stats().Published != before || !errors.Is(err, txn.ErrConflict) {
						t.Error("something was committed")
					}
				} else if err != nil {
					t.Fatal(err)
				}
				switch {
				case want == nil && got != nil, want != nil && got == nil:
					t.Errorf("%v, want %v", err, want)
				case want != nil && (got.Name != want.Name || got.Page != want.Page || got.What != want.What):
					t.Errorf("%+v, want %+v", got, want)
				}
			})
		}
	}
}

// A swap of names, and a name that moves on, are one change.
func TestRenameInACircle(t *testing.T) {
	r := newRig(t, txn.Options{})
	for i, name := range []string{"a", "b", "c"} {
		r.volume(name, 1)
		r.put(name, 0, uint64(i))
	}
	steps := [][][2]string{
		{{"a", "t"}, {"b", "a"}, {"t", "b"}},             // swap a and b
		{{"c", "t"}, {"b", "c"}, {"a", "b"}, {"t", "a"}}, // all move on
		{{"c", "d"}, {"b", "c"}, {"a", "b"}},             // a chain
		{{"b", "a"}, {"c", "b"}, {"d", "c"}},             // and back
	}
	model := map[string]uint64{"a": 0, "b": 1, "c": 2}
	for _, renames := range steps {
		ctx, cancel := context.WithCancel(context.Background())
		tries := 0
		_, err := r.Update(ctx, func(tx *txn.Tx) error {
			if tries++; tries > 3 {
				cancel()
			}
			for _, x := range renames {
				if err := tx.RenameVolume(x[0], x[1]); err != nil {
					return err
				}
			}
			return nil
		})
		cancel()
		if err != nil {
			t.Fatalf("%v: %v", renames, err)
		}
		for _, x := range renames {
			model[x[1]] = model[x[0]]
			delete(model, x[0])
		}
		for range 2 {
			for name, want := range model {
				if got := r.get(name, 0); got != want {
					t.Errorf("after %v %q is volume %d, want %d", renames, name, got, want)
				}
			}
			if err := r.reopen(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
