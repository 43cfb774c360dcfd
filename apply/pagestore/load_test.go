package pagestore_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/pagestoretest"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/wal"
)

func loads(heads []pagestore.Head, forms ...[]byte) error {
	return pagestoretest.Load(crashfs.New(), "/loaded", heads, forms)
}

// refused is an error that a form which is not valid may have.
func refused(err error) bool {
	return errors.Is(err, wal.ErrCorrupt) || errors.Is(err, wal.ErrVersion) || errors.Is(err, wal.ErrTooLarge)
}

// A form that was cut is refused, and so is one of which any bit was flipped,
// unless that makes another valid one: of facts that nothing else repeats.
func TestLoadDamaged(t *testing.T) {
	heads, forms := pagestoretest.Loaded(t, 5, 40, memory)
	ok := loads(heads, forms...)
	if ok != nil {
		t.Fatal(ok)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for range 300 {
		i := rng.IntN(len(forms))
		damaged := [][]byte{forms[0], forms[1]}
		if rng.IntN(4) == 0 {
			damaged[i] = damaged[i][:rng.IntN(len(damaged[i]))]
		} else {
			damaged[i] = bytes.Clone(damaged[i])
			damaged[i][rng.IntN(len(damaged[i]))] ^= 1 << rng.IntN(8)
		}
		switch err := loads(heads, damaged...); {
		case err == nil && len(damaged[i]) == len(forms[i]):
			taken++
		case !refused(err):
			t.Fatalf("%v", err)
		}
	}
	if taken > 60 {
		t.Errorf("%d of 300 damaged forms were taken", taken)
	}
}

// An increment is not loaded without its base, nor twice.
func TestLoadOutOfOrder(t *testing.T) {
	heads, forms := pagestoretest.Loaded(t, 6, 20, memory)
	if err := loads(heads[1:], forms[1]); !refused(err) {
		t.Errorf("without its base: %v", err)
	}
	if err := loads([]pagestore.Head{heads[0], heads[0]}, forms[0], forms[0]); err == nil {
		t.Error("the same one twice")
	}
}

// What one store exports another loads, whole or what it has not had; whoever reads between
// them may end that.
func TestLoadFrom(t *testing.T) {
	heads, forms := pagestoretest.Loaded(t, 7, 40, memory)
	disk := crashfs.New()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(pagestoretest.Load(disk, "/from", heads, forms))
	from, _, err := pagestore.Open(pagestore.Options{FS: disk, Dir: "/from", CacheBytes: 4 << 10})
	must(err)
	snap := from.Acquire()
	_, want, err := snap.Digest()
	must(err)
	for name, before := range map[string][][]byte{"/whole": nil, "/younger": forms[:1]} {
		l, err := pagestoretest.NewLoader(disk, name)
		must(err)
		for i, form := range before {
			must(l.Load(heads[i], bytes.NewReader(form)))
		}
		must(l.LoadFrom(snap, nil))
		if _, got, err := l.Digest(); err != nil || got != want {
			t.Errorf("%s: digest %s, not %s: %v", name, got, want, err)
		}
		must(l.Finish())
	}
	for n := range len(forms[0]) {
		if n%(len(forms[0])/20) != 0 {
			continue
		}
		l, err := pagestoretest.NewLoader(disk, fmt.Sprint("/cut", n))
		must(err)
		gone := errors.New("gone")
		err = l.LoadFrom(snap, func(in io.Reader) io.Reader {
			return io.MultiReader(io.LimitReader(in, int64(n)), iotest.ErrReader(gone))
		})
		if !errors.Is(err, gone) {
			t.Errorf("after %d bytes: %v", n, err)
		}
		must(l.Close())
	}
	from.Release(snap)
	must(from.Close())
}

// FuzzLoad: any bytes are a snapshot or an error, whatever else they are behind.
func FuzzLoad(f *testing.F) {
	heads, forms := pagestoretest.Loaded(f, 127, 6, memory)
	f.Add(forms[1], false)
	f.Add(forms[0], true)
	f.Fuzz(func(t *testing.T, form []byte, whole bool) {
		var err error
		if whole {
			err = loads(heads[:1], form)
		} else {
			err = loads(heads, forms[0], form)
		}
		if err != nil && !refused(err) {
			t.Fatal(err)
		}
	})
}

// TestGoldenPortable: the form of a certain history stays readable.
func TestGoldenPortable(t *testing.T) {
	heads, forms := pagestoretest.Loaded(t, 127, 6, memory)
	for i, name := range []string{"portable-whole.v1.golden", "portable-increment.v1.golden"} {
		name = filepath.Join("testdata", name)
		if flag.Lookup("update").Value.String() == "true" {
			if err := os.WriteFile(name, forms[i], 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(forms[i], want) {
			t.Errorf("%s is not what is written: %s", name, hex.EncodeToString(forms[i][:64]))
		}
		forms[i] = want
	}
	if err := loads(heads, forms...); err != nil {
		t.Error(err)
	}
}
