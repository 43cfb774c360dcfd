package manifest_test

import (
	"fmt"
	"log"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

func Example() {
	disk := crashfs.New() // vfs.OS() in a service
	if err := disk.Mkdir("/store"); err != nil {
		log.Fatal(err)
	}
	m, err := manifest.Create(disk, "/store", newFacts())
	if err != nil {
		log.Fatal(err)
	}
	seq, err := m.Append(manifest.Edit{
		Checkpoint: &manifest.Checkpoint{LSN: 41},
		Used:       []heap.Extent{{First: heap.MakeSlot(1, 0), Count: 8}},
	})
	fmt.Println("durable as record", seq, err)

	// The process dies here; the next one opens.
	m, facts, report, err := manifest.Open(disk, "/store")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("checkpoint", facts.Checkpoint.LSN, "slots", facts.Used.Len(), "torn", report.TornBytes)
	fmt.Println(m.CloseClean(41))
	// Output:
	// durable as record 2 <nil>
	// checkpoint 41 slots 8 torn 0
	// <nil>
}
