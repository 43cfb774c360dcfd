package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/quire-db/quire/internal/graph"
	"github.com/quire-db/quire/recovery"
)

// maxLineages bounds what graph draws: more is no picture any more.
const maxLineages = 10_000

// grapher is one run of graph.
type grapher struct {
	*app
	volume, svg string
	all, ascii  bool
}

func newGraphCommand(a *app) *cobra.Command {
	g := &grapher{app: a}
	c := &cobra.Command{
		Use:   "graph",
		Short: "Draw volumes, forks, tags and holds as a tree",
		Long: fmt.Sprintf(`Draw the volumes as a tree of tips, the states that can be reached: the current
one is a full circle. Forks hang off the tip they were made of; tags and holds
stand beside the tip that they name and keep; below the tree is for whom the log
is kept. Volumes whose names begin with a dot are drawn with --all only. With
--volume only the tree that it belongs to is drawn.

With --svg it is a picture for a browser, in which LSNs go from left to right. It
has no script in it and loads nothing.

At most %d volumes are drawn.`, maxLineages),
		Example: `  txnctl graph
  txnctl graph --volume notes
  txnctl graph --svg store.svg
  txnctl graph --json | jq '.lineages[] | {volume, tips: (.tips | length)}'`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return g.run() },
	}
	c.Flags().StringVar(&g.svg, "svg", "", "write a picture to `FILE`; - is standard output")
	c.Flags().StringVar(&g.volume, "volume", "", "only the tree of `VOLUME`, a name or UUID")
	c.Flags().BoolVarP(&g.all, "all", "a", false, "also volumes whose names begin with a dot")
	c.Flags().BoolVar(&g.ascii, "ascii", false, "draw with characters of ASCII (default when the locale is not UTF-8)")
	_ = c.RegisterFlagCompletionFunc("volume", a.completeOnlyVolume)
	_ = c.MarkFlagFilename("svg", "svg")
	return c
}

func (g *grapher) run() error {
	if g.svg != "" && g.json {
		return usagef("--svg is a picture and --json is data: name one of them")
	}
	drawn, err := g.gather()
	switch {
	case err != nil:
		return err
	case g.json:
		return g.print(graphOf(drawn), nil)
	case g.svg == "-":
		return graph.SVG(g.out, drawn)
	case g.svg != "":
		return g.toFile(drawn)
	}
	return graph.Text(g.out, drawn, graph.TextOptions{Width: g.columns(), ASCII: g.ascii || !inUTF8(), Color: g.bold != ""})
}

// toFile writes the picture to the file that is named.
func (g *grapher) toFile(drawn graph.Graph) error {
	var picture bytes.Buffer // so that only the disk can leave half a file
	if err := graph.SVG(&picture, drawn); err != nil {
		return err
	}
	if err := os.WriteFile(g.svg, picture.Bytes(), 0o666); err != nil {
		return err
	}
	g.note("Wrote %s, %s, %s: open it in a browser.", g.svg, bytesText(int64(picture.Len())), count(len(drawn.Lineages), "volume"))
	return nil
}

// columns is the width of the terminal; 0 when there is none.
func (g *grapher) columns() int {
	f, ok := g.out.w.(*os.File)
	if !ok || !onTerminal(f) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// inUTF8 reports whether the locale is one of UTF-8, or none is set.
func inUTF8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToUpper(os.Getenv(name)); v != "" {
			return strings.Contains(v, "UTF-8") || strings.Contains(v, "UTF8")
		}
	}
	return true
}

// gather collects what is drawn from the newest state of the store.
func (g *grapher) gather() (drawn graph.Graph, err error) {
	err = g.withView(0, func(view *recovery.Viewed) error {
		head := view.Snapshot().Head
		drawn = graph.Graph{Store: g.dir, Head: uint64(head.LSN), Time: time.Unix(0, head.Time), Holds: logHolds(view)}
		t := tree{snap: view.Snapshot(), all: g.all, most: maxLineages}
		drawn.Lineages, err = t.lineages(g.volume)
		return overtaken(view, err)
	})
	return drawn, err
}

// logHolds are those for whom the log is kept, and from where on.
func logHolds(view *recovery.Viewed) (holds []graph.Hold) {
	for _, c := range view.Facts().Consumers {
		if !c.Dropped {
			holds = append(holds, graph.Hold{Kind: "consumer", Owner: c.Name, LSN: uint64(c.Acked.LSN) + 1})
		}
	}
	return holds
}
