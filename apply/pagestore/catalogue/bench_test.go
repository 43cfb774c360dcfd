package catalogue_test

import (
	"fmt"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
)

// tenThousand is a catalogue of 10,000 keys like those of volumes, in memory.
func tenThousand(b *testing.B) (*world, []string) {
	w, keys := newWorld(), make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("lineage/%016x", uint64(i)*0x9e3779b97f4a7c15)
		w.put(b, keys[i], make(catalogue.Raw, 100))
	}
	w.publish()
	return w, keys
}

func BenchmarkGet(b *testing.B) {
	w, keys := tenThousand(b)
	i := 0
	for b.Loop() {
		if _, ok, err := w.cat.Get(w.store, keys[i]); !ok || err != nil {
			b.Fatal(err)
		}
		i = (i + 7) % len(keys)
	}
}

// BenchmarkPut replaces values; a group is the number of puts of one epoch.
func BenchmarkPut(b *testing.B) {
	for _, group := range []int{1, 16, 1024} {
		b.Run(fmt.Sprintf("group=%d", group), func(b *testing.B) {
			w, keys := tenThousand(b)
			v, i := make(catalogue.Raw, 100), 0
			b.ReportAllocs()
			for b.Loop() {
				if i++; i%group == 0 {
					w.edit.Epoch++
				}
				if err := w.edit.Put(&w.cat, keys[i*7%len(keys)], v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCheckpoint freezes, writes and rebases 10,000 changed items.
func BenchmarkCheckpoint(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		w, _ := tenThousand(b)
		b.StartTimer()
		if err := w.cat.Freeze(w.Alloc, w.Dead); err != nil {
			b.Fatal(err)
		}
		if err := w.cat.Write(w.Write); err != nil {
			b.Fatal(err)
		}
		var memo catalogue.Memo
		w.cat = w.cat.Rebase(clean, &memo)
	}
}
