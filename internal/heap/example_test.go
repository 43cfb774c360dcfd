package heap_test

import (
	"fmt"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

func Example() {
	disk := crashfs.New()
	h, err := heap.Open(heap.Options{FS: disk, Dir: "heap", Store: store}, nil)
	if err != nil {
		panic(err)
	}
	extents, err := h.Alloc(heap.ClassFor(4000), 3, 0)
	if err != nil {
		panic(err)
	}
	first := extents[0].First
	page := make([]byte, 4096)
	copy(page, "hello")
	if err := h.Write(first, page); err != nil {
		panic(err)
	}
	if err := h.Sync(); err != nil {
		panic(err)
	}
	known := h.Files() // for the manifest
	h.Close()

	h, err = heap.Open(heap.Options{FS: disk, Dir: "heap", Store: store}, known)
	if err != nil {
		panic(err)
	}
	defer h.Close()
	if err := h.MarkUsed(heap.Extent{First: first, Count: 1}); err != nil {
		panic(err)
	}
	text := make([]byte, 5)
	fmt.Println(h.ReadSlot(first, text), string(text), h.Stats().Used, "bytes in use")
	// Output: <nil> hello 4096 bytes in use
}
