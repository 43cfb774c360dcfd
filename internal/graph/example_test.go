package graph_test

import (
	"fmt"
	"os"
	"strings"

	"github.com/quire-db/quire/internal/graph"
)

func ExampleText() {
	g := graph.Graph{
		Store: "/srv/store", Head: 31,
		Lineages: []graph.Lineage{
			{Volume: "notes", Tips: []graph.Tip{
				{LSN: 10, Pages: 120, Bytes: 491520, Tags: []string{"v1", "before-migration"}},
				{LSN: 20, Current: true, Pages: 130, Bytes: 532480, Holds: []graph.Hold{{Kind: "reader", Owner: "backup", LSN: 20}}},
			}},
			{Volume: "migration-test", ForkedFrom: &graph.Point{Lineage: 0, LSN: 10}, Tips: []graph.Tip{
				{LSN: 31, Current: true, Pages: 125, Bytes: 512000},
			}},
		},
	}
	_ = graph.Text(os.Stdout, g, graph.TextOptions{Width: 80})
	// Output:
	// Store /srv/store at LSN 31: 1 volume, 1 fork, 2 tags, 1 hold.
	//
	// LSN  VOLUME                              PAGES       SIZE
	//      notes
	//  10  ├─○ tags v1, before-migration         120  480.0 KiB
	//  31  │ ╰─● fork migration-test             125  500.0 KiB
	//  20  ╰─● current; held by reader backup    130  520.0 KiB
}

func ExampleSVG() {
	g := graph.Graph{Store: "/srv/store", Head: 3, Lineages: []graph.Lineage{
		{Volume: "notes", Tips: []graph.Tip{{LSN: 3, Current: true, Pages: 1, Bytes: 6}}},
	}}
	var b strings.Builder
	_ = graph.SVG(&b, g)
	fmt.Println(strings.Contains(b.String(), "notes at LSN 3: 1 page, 6 B"))
	// Output: true
}
