package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/pagetree"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// diffRun is consecutive pages that differ alike.
type diffRun struct {
	First uint64 `json:"first" doc:"number of the first page"`
	Pages uint64 `json:"pages" doc:"how many from there on"`
	What  string `json:"what" doc:"changed, only in A, or only in B; absent pages read as zeros"`
}

// diffStat is what differs in all.
type diffStat struct {
	A       diffSide `json:"a" doc:"the first state"`
	B       diffSide `json:"b" doc:"the second state"`
	Changed uint64   `json:"changed" doc:"pages in both that read differently"`
	OnlyA   uint64   `json:"only_a" doc:"pages in A that B does not have"`
	OnlyB   uint64   `json:"only_b" doc:"pages in B that A does not have"`
}

type diffSide struct {
	Volume string `json:"volume" doc:"name of the volume, or VOLUME@TAG"`
	LSN    uint64 `json:"lsn" doc:"after whose entry"`
	Pages  uint64 `json:"pages" doc:"size in pages"`
	Sum    string `json:"sum" doc:"of the hashes of its pages"`
}

const (
	diffChanged = "changed"
	diffOnlyA   = "only in A"
	diffOnlyB   = "only in B"
)

// differ is one run of diff.
type differ struct {
	*app
	a, b       string
	from, to   lsnFlag
	stat, each bool

	sum diffStat
	run diffRun // not printed yet
}

func newDiffCommand(a *app) *cobra.Command {
	d := &differ{app: a}
	c := &cobra.Command{
		Use:   "diff A [B]",
		Short: "Compare two states, page by page",
		Long: `Print which pages read differently in volume A and in volume B, or in two states
of A: it is taken after the entry --from, B after the entry --to. The cost is
that of the differences, whatever the volumes hold. The store has the states
from its last checkpoint on (see status), and those of tags: VOLUME@TAG.

Pages that are not there read as zeros. The exit code is 0 whether or not
anything differs.`,
		Example: `  txnctl diff notes --from 5            # what has changed since LSN 5
  txnctl diff notes --from 5 --to 9 --stat
  txnctl diff notes@v1 notes            # what has changed since the tag was set
  txnctl diff master copy --pages | wc -l`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completeTwoVolumes,
		RunE: func(c *cobra.Command, args []string) error {
			d.a, d.b = args[0], args[len(args)-1]
			if d.stat && d.each {
				return usagef("--stat prints no pages: leave it out, or --pages")
			}
			if len(args) == 1 && d.from == d.to {
				return usagef("%s is compared with itself: name a second volume, or --from or --to", printable(d.a))
			}
			return d.compare(c.Context())
		},
	}
	c.Flags().Var(&d.from, "from", "A is the state after the entry with this `LSN` (default the newest)")
	c.Flags().Var(&d.to, "to", "B is the state after the entry with this `LSN` (default the newest)")
	c.Flags().BoolVar(&d.stat, "stat", false, "print counts only")
	c.Flags().BoolVar(&d.each, "pages", false, "print every page on a line of its own")
	return c
}

func (d *differ) compare(ctx context.Context) error {
	return d.withView(d.first(), func(view *recovery.Viewed) error {
		a, b, err := d.sides(view)
		if err != nil {
			return overtaken(view, err)
		}
		for c, err := range a.Diff(b, 0, wal.MaxPages) {
			if err != nil {
				return overtaken(view, err)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := d.add(c); err != nil {
				return err
			}
		}
		return d.end()
	})
}

// first is the older of the two LSNs: a view goes forward only.
func (d *differ) first() wal.LSN {
	switch {
	case d.from == 0:
		return wal.LSN(d.to)
	case d.to == 0:
		return wal.LSN(d.from)
	}
	return wal.LSN(min(d.from, d.to))
}

func (d *differ) sides(view *recovery.Viewed) (a, b pagestore.Volume, err error) {
	older := view.Snapshot()
	newer := older
	if d.from != d.to {
		last := wal.LSN(0)
		if d.from != 0 && d.to != 0 {
			last = wal.LSN(max(d.from, d.to))
		}
		if newer, err = view.At(last); err != nil {
			return a, b, err
		}
	}
	inA, inB := older, newer
	if wal.LSN(d.from) != d.first() {
		inA, inB = newer, older
	}
	if a, err = findVolume(inA, d.a); err != nil {
		return a, b, err
	}
	b, err = findVolume(inB, d.b)
	d.sum.A, d.sum.B = sideOf(inA, a), sideOf(inB, b)
	return a, b, err
}

func sideOf(s *pagestore.Snapshot, v pagestore.Volume) diffSide {
	return diffSide{label(v), uint64(stateLSN(s, v)), v.Tree.Pages(), v.Tree.Sum().String()}
}

func (d *differ) add(c pagetree.Change) error {
	what := diffChanged
	switch {
	case c.A.Addr == 0:
		what = diffOnlyB
		d.sum.OnlyB++
	case c.B.Addr == 0:
		what = diffOnlyA
		d.sum.OnlyA++
	default:
		d.sum.Changed++
	}
	if !d.each && d.run.What == what && d.run.First+d.run.Pages == c.Page {
		d.run.Pages++
		return nil
	}
	err := d.flush()
	d.run = diffRun{c.Page, 1, what}
	return err
}

// flush prints the run that has come to its end.
func (d *differ) flush() error {
	if d.run.Pages == 0 || d.stat {
		return nil
	}
	return d.print(d.run, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %s\n", pagesText(d.run.First, d.run.Pages), d.run.What)
	})
}

func pagesText(first, n uint64) string {
	if n == 1 {
		return fmt.Sprintf("page  %d", first)
	}
	return fmt.Sprintf("pages %d-%d", first, first+n-1)
}

func (d *differ) end() error {
	if err := d.flush(); err != nil || (d.json && !d.stat) {
		return err
	}
	return d.print(d.sum, func(w io.Writer) {
		s := d.sum
		fmt.Fprintf(w, "%s at LSN %d and %s at LSN %d: ", printable(s.A.Volume), s.A.LSN, printable(s.B.Volume), s.B.LSN)
		if s.Changed+s.OnlyA+s.OnlyB == 0 {
			fmt.Fprint(w, "no page reads differently")
		} else {
			fmt.Fprintf(w, "%s changed, %d only in A, %d only in B", count(s.Changed, "page"), s.OnlyA, s.OnlyB)
		}
		if s.A.Pages != s.B.Pages {
			fmt.Fprintf(w, "; the sizes are %s and %s", count(s.A.Pages, "page"), count(s.B.Pages, "page"))
		}
		fmt.Fprintln(w, ".")
	})
}
