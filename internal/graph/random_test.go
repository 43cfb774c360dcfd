package graph

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawGraph makes any graph: forks of anything, also of themselves, tips in any
// order and more than once, names short and long.
func drawGraph(t *rapid.T) Graph {
	lsn := rapid.OneOf(rapid.Uint64Range(0, 30), rapid.Uint64Range(0, 5000), rapid.Uint64())
	name := rapid.OneOf(rapid.StringMatching(`[a-z]{1,8}`), rapid.SampledFrom(hostile), rapid.Just(""))
	hold := rapid.Custom(func(t *rapid.T) Hold { return Hold{name.Draw(t, "kind"), name.Draw(t, "owner"), lsn.Draw(t, "from")} })
	tip := rapid.Custom(func(t *rapid.T) Tip {
		return Tip{
			LSN: lsn.Draw(t, "lsn"), Current: rapid.Bool().Draw(t, "current"), Pages: lsn.Draw(t, "pages"), Bytes: rapid.Int64().Draw(t, "bytes"),
			Tags:  rapid.SliceOfN(name, 0, 6).Draw(t, "tags"),
			Holds: rapid.SliceOfN(hold, 0, 2).Draw(t, "holds"),
		}
	})
	g := Graph{Store: name.Draw(t, "store"), Head: lsn.Draw(t, "head"), Holds: rapid.SliceOfN(hold, 0, 4).Draw(t, "holds")}
	n := rapid.IntRange(0, 12).Draw(t, "lineages")
	for i := range n {
		l := Lineage{Volume: name.Draw(t, "volume"), UUID: fmt.Sprint(i), Tips: rapid.SliceOfN(tip, 0, 6).Draw(t, "tips")}
		if rapid.Bool().Draw(t, "fork") {
			l.ForkedFrom = &Point{rapid.IntRange(-1, n).Draw(t, "origin"), lsn.Draw(t, "at")}
		}
		g.Lineages = append(g.Lineages, l)
	}
	return g
}

func TestAnyGraphCanBeDrawn(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		g := drawGraph(r)
		o := TextOptions{Width: rapid.SampledFrom([]int{0, 0, 40, 80, 200}).Draw(r, "width"), ASCII: rapid.Bool().Draw(r, "ascii"), Color: rapid.Bool().Draw(r, "colour")}
		var text, svg strings.Builder
		if err := Text(&text, g, o); err != nil {
			r.Fatal(err)
		}
		if err := SVG(&svg, g); err != nil {
			r.Fatal(err)
		}
		checkText(r, g, o, text.String())
		checkSVG(r, g, svg.String())
		checkLayout(r, g)
	})
}
