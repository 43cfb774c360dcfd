package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/backup"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// tagOutput is a tag, as tag ls prints it.
type tagOutput struct {
	Volume  string `json:"volume" doc:"name of the volume"`
	ID      string `json:"id" doc:"UUID of the volume"`
	Tag     string `json:"tag" doc:"name of the tag"`
	Tip     uint64 `json:"tip" doc:"LSN that made the state it points to"`
	Changed uint64 `json:"changed" doc:"LSN of the entry that set it last"`
	Created uint64 `json:"created" doc:"LSN of the entry that made it"`
	Changes uint64 `json:"changes" doc:"entries that set it"`
	Time    string `json:"time" doc:"when it was set, RFC 3339, UTC"`
	Bytes   int64  `json:"bytes" doc:"length of the file in that state"`
	Pages   uint64 `json:"pages" doc:"size of that state in pages"`
	Sum     string `json:"sum" doc:"sum of the hashes of its pages"`
}

// tagChange is what tag add, mv and rm print.
type tagChange struct {
	Volume string `json:"volume" doc:"name of the volume"`
	Tag    string `json:"tag" doc:"name of the tag"`
	LSN    uint64 `json:"lsn" doc:"of the transaction"`
	Txn    string `json:"txn" doc:"UUID of the transaction"`
	Tip    uint64 `json:"tip" doc:"LSN that made the state it points to now; 0 when it is gone"`
	Before uint64 `json:"before" doc:"LSN that made the state it pointed to; 0 when it is new"`
}

func newTagCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "tag",
		Short: "Name states, so that they are kept",
		Long: `A tag is a name of a state of a volume, and keeps that state for as long as it
lasts: it can be read as VOLUME@TAG by cat, stat, export and diff, be forked, and
be reset to. No page is copied.`,
	}, newTagAddCommand(a), newTagLsCommand(a), newTagMvCommand(a), newTagRmCommand(a))
}

// tagger is one run of tag add, mv or rm.
type tagger struct {
	*app
	volume, tag string
	from        string  // VOLUME or VOLUME@TAG; the volume itself when empty
	expect      lsnFlag // of the tip that the tag points to
	message     string
}

func (t *tagger) flags(c *cobra.Command, from string) {
	if from != "" {
		c.Flags().StringVar(&t.from, from, "", "the state that `SOURCE` has, a volume or VOLUME@TAG (default VOLUME as it is)")
	}
	c.Flags().StringVar(&t.message, "message", "", "write `TEXT` into the entry, for readers of the log")
}

func newTagAddCommand(a *app) *cobra.Command {
	t := &tagger{app: a}
	c := &cobra.Command{
		Use:   "add VOLUME TAG",
		Short: "Name the state of a volume",
		Long: `Make a tag of VOLUME that points to its state now, or to that of --from. A tag of
that name must not exist: tag mv moves one.`,
		Example: `  txnctl tag add notes v1
  txnctl tag add notes good --from notes@v1`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeOnlyVolume,
		RunE: func(c *cobra.Command, args []string) error {
			t.volume, t.tag = args[0], args[1]
			return t.set(c.Context(), false)
		},
	}
	t.flags(c, "from")
	return c
}

func newTagMvCommand(a *app) *cobra.Command {
	t := &tagger{app: a}
	c := &cobra.Command{
		Use:   "mv VOLUME TAG",
		Short: "Let a tag point to another state",
		Long: `Move a tag of VOLUME to the state that the volume has now, or to that of --to. What
it pointed to is let go, unless something else keeps it. With --expect the tag
must point to the state that this LSN made, else nothing is changed and the exit
code is 5.`,
		Example: `  txnctl tag mv notes latest
  txnctl tag mv notes latest --to notes@v1 --expect 12`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeTag,
		RunE: func(c *cobra.Command, args []string) error {
			t.volume, t.tag = args[0], args[1]
			return t.set(c.Context(), true)
		},
	}
	t.flags(c, "to")
	c.Flags().Var(&t.expect, "expect", "only if the tag points to the state that the entry with this `LSN` made")
	return c
}

func newTagRmCommand(a *app) *cobra.Command {
	t := &tagger{app: a}
	c := &cobra.Command{
		Use:   "rm VOLUME TAG",
		Short: "Drop a tag",
		Long: `Drop a tag of VOLUME. What it pointed to is let go, unless something else keeps it:
a checkpoint frees what only it reached.`,
		Example:           `  txnctl tag rm notes v1 && txnctl gc`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeTag,
		RunE: func(c *cobra.Command, args []string) error {
			t.volume, t.tag = args[0], args[1]
			return t.remove(c.Context())
		},
	}
	t.flags(c, "")
	c.Flags().Var(&t.expect, "expect", "only if the tag points to the state that the entry with this `LSN` made")
	return c
}

// set makes a tag, or moves one.
func (t *tagger) set(ctx context.Context, move bool) error {
	if t.from == "" {
		t.from = t.volume
	}
	return t.commit(ctx, func(tx *txn.Tx, tip base, v *txn.Volume) (uint64, error) {
		if err := t.mustExist(tx, move); err != nil {
			return 0, err
		}
		from, err := tip.open(tx)
		if err != nil {
			return 0, err
		}
		if err := tx.SetTag(v, t.tag, from); err != nil {
			return 0, err
		}
		return uint64(tip.Tip), keepBaseLength(tx, v, t.tag, tip)
	})
}

func (t *tagger) mustExist(tx *txn.Tx, exists bool) error {
	info, found, err := t.find(tx)
	switch {
	case err != nil:
		return err
	case found && !exists:
		return fmt.Errorf("volume %q has a tag %q already, set by LSN %d; tag mv moves it", t.volume, t.tag, info.Changed)
	case !found && exists:
		return fmt.Errorf("volume %q has no tag %q; tag add makes it", t.volume, t.tag)
	}
	return nil
}

func (t *tagger) find(tx *txn.Tx) (txn.TagInfo, bool, error) {
	for info, err := range tx.Tags(t.volume) {
		if err != nil || info.Name == t.tag {
			return info, err == nil, err
		}
	}
	return txn.TagInfo{}, false, nil
}

func (t *tagger) remove(ctx context.Context) error {
	t.from = t.volume
	return t.commit(ctx, func(tx *txn.Tx, _ base, v *txn.Volume) (uint64, error) {
		return 0, tx.DeleteTag(v, t.tag)
	})
}

// commit changes the tag in one transaction; f returns the tip that it points to
// afterwards.
func (t *tagger) commit(ctx context.Context, f func(*txn.Tx, base, *txn.Volume) (uint64, error)) error {
	out := tagChange{Volume: t.volume, Tag: t.tag}
	err := t.withStore(txn.Options{}, func(m *txn.Manager, _ *recovery.Report) error {
		return t.withBase(m, t.from, func(tip base) error {
			tx, err := m.Begin(ctx, txn.TxOptions{Message: t.message})
			if err != nil {
				return err
			}
			defer tx.Rollback()
			before, _, err := t.find(tx)
			if err != nil {
				return err
			}
			out.Before = uint64(before.Tip)
			if t.expect != 0 && wal.LSN(t.expect) != before.Tip {
				return conflictError(fmt.Sprintf("conflict: tag %q of volume %q points to the state of LSN %d, not %d; nothing was written",
					t.tag, t.volume, out.Before, wal.LSN(t.expect)))
			}
			v, err := tx.Volume(t.volume)
			if err != nil {
				return err
			}
			if out.Tip, err = f(tx, tip, v); err != nil {
				return err
			}
			c, err := tx.Commit(ctx)
			out.LSN, out.Txn = uint64(c.Position.LSN), c.Txn.String()
			return err
		})
	})
	if err != nil {
		return err
	}
	return t.print(out, out.text)
}

func (o tagChange) text(w io.Writer) {
	name := printable(o.Volume + "@" + o.Tag)
	switch {
	case o.Tip == 0:
		fmt.Fprintf(w, "Committed as LSN %d: %s is gone; it pointed to the state of LSN %d.\n", o.LSN, name, o.Before)
	case o.Before == 0:
		fmt.Fprintf(w, "Committed as LSN %d: %s points to the state of LSN %d.\n", o.LSN, name, o.Tip)
	default:
		fmt.Fprintf(w, "Committed as LSN %d: %s points to the state of LSN %d, before to that of %d.\n", o.LSN, name, o.Tip, o.Before)
	}
}

func newTagLsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls [VOLUME]",
		Short: "List tags",
		Long: `List the tags of VOLUME, or of all volumes, by name, also beside a running
service.`,
		Example: `  txnctl tag ls notes
  txnctl tag ls --json | jq -r '.volume + "@" + .tag'`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeOnlyVolume,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.tags(args)
		},
	}
}

func (a *app) tags(of []string) error {
	t := newTable("VOLUME", "TAG", ">STATE OF LSN", ">SET BY LSN", ">SIZE")
	err := a.withView(0, func(view *recovery.Viewed) error {
		return overtaken(view, a.eachTag(view.Snapshot(), of, func(o tagOutput) error {
			return a.print(o, func(io.Writer) { t.addTag(o) })
		}))
	})
	switch {
	case err != nil || a.json:
	case len(t.rows) == 0:
		a.note("No tags.")
	default:
		t.print(a.out, a.bold)
	}
	return err
}

func (a *app) eachTag(s *pagestore.Snapshot, of []string, f func(tagOutput) error) error {
	if len(of) > 0 {
		v, err := findCurrent(s, of[0])
		if err != nil {
			return err
		}
		return tagsOf(s, v, f)
	}
	for v, err := range s.Volumes() {
		if err == nil {
			err = tagsOf(s, v, f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func tagsOf(s *pagestore.Snapshot, v pagestore.Volume, f func(tagOutput) error) error {
	for t, err := range s.Tags(v.ID) {
		if err != nil {
			return err
		}
		o, err := tagOf(s, t)
		if err == nil {
			err = f(o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func tagOf(s *pagestore.Snapshot, t pagestore.Volume) (tagOutput, error) {
	length, err := backup.Length(s, t)
	return tagOutput{
		Volume: t.Attrs.Name, ID: t.ID.String(), Tag: string(t.Ref), Tip: uint64(t.Tip), Changed: uint64(t.Changed),
		Created: uint64(t.Created), Changes: t.Seq, Time: jsonTime(t.Set), Bytes: length, Pages: t.Tree.Pages(), Sum: t.Tree.Sum().String(),
	}, err
}

func (t *table) addTag(o tagOutput) {
	t.add(printable(o.Volume), printable(o.Tag), strconv.FormatUint(o.Tip, 10), strconv.FormatUint(o.Changed, 10), bytesText(o.Bytes))
}

// completeTag offers volumes, then the tags of the one that was chosen.
func (a *app) completeTag(c *cobra.Command, args []string, part string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) != 1 {
		return a.completeOnlyVolume(c, args, part)
	}
	_ = a.withView(0, func(view *recovery.Viewed) error {
		return a.eachTag(view.Snapshot(), args, func(o tagOutput) error {
			names = append(names, o.Tag)
			return nil
		})
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}
