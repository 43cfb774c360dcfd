package graph

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// notes is a store as one would have it.
func notes() Graph {
	return Graph{
		Store: "0197a3c4-1f00-7000-8000-0000000000a1", Head: 5012, Time: time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC),
		Lineages: []Lineage{
			{Volume: "notes", UUID: "u0", Tips: []Tip{
				{LSN: 2, Pages: 80, Bytes: 327680, Tags: []string{"first"}},
				{LSN: 10, Pages: 120, Bytes: 491520, Tags: []string{"v1", "before-migration"}},
				{LSN: 4800, Pages: 128, Bytes: 524288, Tags: []string{"v2"}, Holds: []Hold{{"reader", "nightly export", 4810}}},
				{LSN: 5012, Current: true, Pages: 130, Bytes: 532480},
			}},
			{Volume: "migration-test", UUID: "u1", ForkedFrom: &Point{0, 10}, Tips: []Tip{
				{LSN: 14, Pages: 121, Bytes: 495616, Tags: []string{"step-1"}},
				{LSN: 31, Current: true, Pages: 125, Bytes: 512000},
			}},
			{Volume: "retry", UUID: "u2", ForkedFrom: &Point{1, 14}, Tips: []Tip{{LSN: 22, Current: true, Pages: 121, Bytes: 495616}}},
			{Volume: "what-if", UUID: "u3", ForkedFrom: &Point{0, 4800}, Tips: []Tip{{LSN: 4801, Current: true, Pages: 128, Bytes: 524288}}},
			{Volume: "invoices", UUID: "u4", Tips: []Tip{{LSN: 7, Current: true, Pages: 2048, Bytes: 8 << 20}}},
			{UUID: "0197a3c4-1f00-7000-8000-0000000000b2", Tips: []Tip{{LSN: 9, Pages: 4, Bytes: 16384, Tags: []string{"kept-from-deleted"}}}},
		},
		Holds: []Hold{{"consumer", "search-index", 4000}},
	}
}

// many is a store of n volumes, every third of which is a fork.
func many(n int) Graph {
	g := Graph{Store: "many", Head: uint64(n * 40)}
	lsn := uint64(1)
	for i := range n {
		l := Lineage{Volume: fmt.Sprintf("volume-%03d", i), UUID: fmt.Sprint(i)}
		if i%3 == 2 {
			from := &g.Lineages[i-1]
			l.Volume = fmt.Sprintf("%s-fork-%d", from.Volume, i)
			l.ForkedFrom = &Point{i - 1, from.Tips[0].LSN}
		}
		for k := range i%4 + 1 {
			lsn += uint64(1 + (i*7+k*13)%11)
			t := Tip{LSN: lsn, Pages: uint64(i*i + 1), Bytes: int64(i*i+1) * 4096}
			if k < i%4 {
				t.Tags = []string{fmt.Sprintf("v%d.%d", i, k)}
			}
			if k == 1 && i%5 == 0 {
				t.Holds = []Hold{{"reader", fmt.Sprintf("job %d", i), lsn}}
			}
			t.Current = k == i%4
			l.Tips = append(l.Tips, t)
		}
		g.Lineages = append(g.Lineages, l)
	}
	g.Head = lsn
	return g
}

// bare is a store of n volumes and nothing else.
func bare(n int) Graph {
	g := Graph{Store: "bare", Head: uint64(3*n + 1)}
	for i := range n {
		tip := Tip{LSN: uint64(2 + i*7%(3*n)), Current: true, Pages: 3, Bytes: 12288}
		g.Lineages = append(g.Lineages, Lineage{Volume: fmt.Sprintf("customer %d", i), Tips: []Tip{tip}})
	}
	return g
}

// releases is one volume with n tags.
func releases(n int) Graph {
	l := Lineage{Volume: "product"}
	for i := range n {
		l.Tips = append(l.Tips, Tip{LSN: uint64(10 + i*i), Tags: []string{fmt.Sprintf("release-%d", i)}, Current: i == n-1})
	}
	return Graph{Store: "releases", Head: uint64(max(n*n, 77)), Lineages: []Lineage{l, {Volume: "other", Tips: []Tip{{LSN: 77, Current: true}}}}}
}

// hostile are names that somebody may have thought of.
var hostile = []string{
	"<script>alert(1)</script>", "\x1b[31mred\x1b[0m", "a\nb\rc\x00d", "\u202egnp.exe", "שלום עולם", "مرحبا", "]]>", `"quoted" & 'so'`,
	"\xff\xfe", strings.Repeat("long", 63) + "end", strings.Repeat("宽", 85), "z\u0300\u0301\u0302\u0303\u0304\u0305\u0306", "\u0300mark",
	" space ", "👩‍👩‍👧‍👦", "\ufffe\uffff", "--><!--", "﷽", "a,b", strings.Repeat("W", 255), "&amp;", "\u2028\u2029\u0085",
}

func evil() Graph {
	g := Graph{Store: hostile[0], Head: 99, Holds: []Hold{{hostile[1], hostile[2], 3}}}
	for i, n := range hostile {
		l := Lineage{Volume: n, UUID: n, Tips: []Tip{{LSN: uint64(i), Tags: []string{n, hostile[len(hostile)-1-i]}, Holds: []Hold{{n, n, 9}}}, {LSN: 50, Current: true}}}
		if i > 0 {
			l.ForkedFrom = &Point{i / 2, uint64(i)}
		}
		g.Lineages = append(g.Lineages, l)
	}
	return g
}

// crooked has what no store has.
func crooked() Graph {
	return Graph{Lineages: []Lineage{
		{Volume: "circle-a", ForkedFrom: &Point{1, 5}, Tips: []Tip{{LSN: 9}, {LSN: 3}, {LSN: 3, Current: true}}},
		{Volume: "circle-b", ForkedFrom: &Point{0, 3}},
		{Volume: "self", ForkedFrom: &Point{2, 1}},
		{Volume: "nowhere", ForkedFrom: &Point{77, 1}},
		{Volume: "before", ForkedFrom: &Point{-1, 0}, Tips: []Tip{{LSN: ^uint64(0), Pages: ^uint64(0), Bytes: 1<<63 - 1, Current: true}}},
		{Volume: "late", ForkedFrom: &Point{4, ^uint64(0)}, Tips: []Tip{{LSN: 0, Bytes: -5, Current: true}}},
		{},
	}}
}

// crowded has many tags and holds on one tip.
func crowded() Graph {
	t := Tip{LSN: 100, Pages: 7, Bytes: 28672}
	for i := range 40 {
		t.Tags = append(t.Tags, fmt.Sprintf("release-%d.%d", i/10, i%10))
	}
	for i := range 5 {
		t.Holds = append(t.Holds, Hold{"reader", fmt.Sprintf("report %d", i), 100})
	}
	return Graph{Store: "crowded", Head: 120, Lineages: []Lineage{
		{Volume: "library", Tips: []Tip{{LSN: 90, Tags: []string{"old"}}, t, {LSN: 110, Tags: []string{"next"}}, {LSN: 120, Current: true}}},
		{Volume: "fork-of-release", ForkedFrom: &Point{0, 100}, Tips: []Tip{{LSN: 100, Current: true}}},
	}}
}

// deep is a fork of a fork of a fork.
func deep(n int) Graph {
	g := Graph{Store: "deep", Head: uint64(2 * n)}
	for i := range n {
		l := Lineage{Volume: fmt.Sprintf("level-%d", i), Tips: []Tip{{LSN: uint64(2*i + 1)}, {LSN: uint64(2*i + 2), Current: true}}}
		if i > 0 {
			l.ForkedFrom = &Point{i - 1, uint64(2*i - 1)}
		}
		g.Lineages = append(g.Lineages, l)
	}
	return g
}

var graphs = []struct {
	name  string
	graph Graph
}{
	{"empty", Graph{Store: "empty"}},
	{"one", Graph{Store: "one", Head: 3, Lineages: []Lineage{{Volume: "notes", Tips: []Tip{{LSN: 3, Current: true, Pages: 1, Bytes: 6}}}}}},
	{"notes", notes()},
	{"many40", many(40)},
	{"many500", many(500)},
	{"bare5", bare(5)},
	{"bare60", bare(60)},
	{"releases8", releases(8)},
	{"releases60", releases(60)},
	{"crowded", crowded()},
	{"evil", evil()},
	{"crooked", crooked()},
	{"deep", deep(60)},
}

func textOf(t testing.TB, g Graph, o TextOptions) string {
	t.Helper()
	var b bytes.Buffer
	if err := Text(&b, g, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// golden compares with a file; QUIRE_UPDATE=1 writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("QUIRE_UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what it was; QUIRE_UPDATE=1 writes it anew. Got:\n%s", file, got)
	}
}
