package catalogue_test

import (
	"fmt"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
)

// A version is edited, published, written by a checkpoint and found again by
// its root, while an older one still reads as it was.
func Example() {
	heap := newStore() // slots, and a node.Source that verifies them

	var c catalogue.Catalogue
	group := catalogue.Edit{Epoch: 1, LSN: 10, Source: heap, Dead: heap.Dead}
	group.Put(&c, "name/inbox", catalogue.Raw("volume 1"))
	published := c // epoch 1 is closed: readers may have it

	group.Epoch, group.LSN = 2, 11
	group.Put(&c, "name/inbox", catalogue.Raw("volume 2"))

	published.Freeze(heap.Alloc, heap.Dead)
	published.Write(heap.Write)
	reopened := catalogue.FromRoot(published.Root())

	for _, version := range []catalogue.Catalogue{published, reopened, c} {
		v, _, _ := version.Get(heap, "name/inbox")
		fmt.Println(text(v))
	}
	// Output:
	// volume 1
	// volume 1
	// volume 2
}
