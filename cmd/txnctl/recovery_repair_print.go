package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/repair"
	"github.com/quire-db/quire/recovery"
)

// repairOutput is what recovery repair prints.
type repairOutput struct {
	Dir       string          `json:"dir" doc:"of the store"`
	Clean     bool            `json:"clean" doc:"nothing is wrong with it"`
	Problems  int             `json:"problems" doc:"number of them; recovery verify lists them"`
	Lost      string          `json:"lost" doc:"nothing, history (tags, or entries that only consumers and followers read), state, or everything; by the store alone"`
	Opens     bool            `json:"opens" doc:"the store opens as it is"`
	Why       string          `json:"why" doc:"why it does not; empty when it does"`
	At        uint64          `json:"at" doc:"LSN of the newest state that the store alone can still come to, of which pages lists what is lost"`
	Durable   uint64          `json:"durable" doc:"highest LSN known to have been durable"`
	Volumes   uint64          `json:"volumes" doc:"in that state; 0 when the catalogue does not say"`
	Pages     []pagesOutput   `json:"pages" doc:"that cannot be read, up to 1000 ranges"`
	More      int             `json:"more" doc:"ranges beyond those"`
	Catalogue string          `json:"catalogue" doc:"why not all volumes could be named; empty when they were"`
	Entries   []entriesOutput `json:"entries" doc:"that were durable and are not whole"`
	Gone      *goneOutput     `json:"gone" doc:"what neither store nor archive has; null when nothing, or without --from"`
	Repaired  *repairedOutput `json:"repaired" doc:"with --from the new store and the proof; else null"`
}

// pagesOutput is pages of a volume, or of a tag, that cannot be read.
type pagesOutput struct {
	Volume  string `json:"volume" doc:"name"`
	Tag     string `json:"tag" doc:"of the volume; empty for the volume itself"`
	First   uint64 `json:"first" doc:"page"`
	Pages   uint64 `json:"pages" doc:"from there on"`
	Present uint64 `json:"present" doc:"of these, written and not discarded"`
	Reason  string `json:"reason" doc:"what is wrong, with the first of them"`
}

// entriesOutput is a range of entries.
type entriesOutput struct {
	First  uint64 `json:"first" doc:"LSN"`
	Last   uint64 `json:"last" doc:"LSN"`
	Reason string `json:"reason" doc:"what is wrong"`
}

// goneOutput is what is lost for good.
type goneOutput struct {
	At      uint64      `json:"at" doc:"LSN of the last entry that can be had"`
	Time    string      `json:"time" doc:"of that entry, RFC 3339, UTC"`
	First   uint64      `json:"first" doc:"LSN of the first entry that is lost; 0 when none is known to be"`
	Last    uint64      `json:"last" doc:"LSN of the last one"`
	Unread  string      `json:"unread" doc:"why nobody can tell whether there were more; empty when it is known"`
	Entries []goneEntry `json:"entries" doc:"what their records still say, up to 1000"`
	Passed  []string    `json:"passed_over" doc:"what of archive and log could not be used"`
}

// goneEntry is a lost entry whose record can still be read.
type goneEntry struct {
	LSN   uint64 `json:"lsn" doc:"of the entry"`
	Time  string `json:"time" doc:"RFC 3339, UTC"`
	Txn   string `json:"txn" doc:"UUID of the transaction"`
	Actor string `json:"actor" doc:"UUID of the client; empty when it does not number its requests"`
}

// repairedOutput is the new store.
type repairedOutput struct {
	URL      string          `json:"url" doc:"of the archive"`
	DryRun   bool            `json:"dry_run" doc:"all was read and verified, nothing was made"`
	Finished bool            `json:"finished" doc:"a run before had made it, this one gave it its name"`
	Damaged  string          `json:"damaged" doc:"where the damaged store is now; empty after a dry run"`
	LSN      uint64          `json:"lsn" doc:"of the last entry"`
	Timeline string          `json:"timeline" doc:"UUID of its timeline"`
	Hash     string          `json:"hash" doc:"of that entry"`
	Time     string          `json:"time" doc:"of that entry, RFC 3339, UTC"`
	Volumes  uint64          `json:"volumes" doc:"in the store; 0 after a dry run"`
	Digest   string          `json:"digest" doc:"of all volumes, tags and states; empty after a dry run"`
	Compared uint64          `json:"compared" doc:"LSN at which the damaged store's own catalogue said the same digest; 0 when it could not be asked"`
	Snapshot uint64          `json:"snapshot" doc:"LSN of the one that was loaded; 0 when the log alone was enough"`
	From     uint64          `json:"checkpoint" doc:"LSN of the damaged store's own checkpoint, of which what is younger than the snapshot was read; 0 when entries led there"`
	Archived uint64          `json:"archived" doc:"entries applied from the archive"`
	Own      uint64          `json:"own" doc:"entries applied from the damaged store's own log"`
	LogFrom  uint64          `json:"log_from" doc:"LSN with which the log begins"`
	OldFrom  uint64          `json:"old_log_from" doc:"LSN with which that of the damaged store began"`
	Role     string          `json:"role" doc:"of the store: writer, follower or successor"`
	Began    uint64          `json:"began" doc:"LSN of the entry that begins a new timeline; 0 when it is on the same"`
	New      string          `json:"new_timeline" doc:"its UUID"`
	Dropped  []droppedOutput `json:"dropped" doc:"consumers that could not be carried over: they have to begin anew"`
	Passed   []string        `json:"passed_over" doc:"what of archive and log could not be used, and was not needed"`
}

// droppedOutput is a consumer that has to begin anew.
type droppedOutput struct {
	Name  string `json:"name" doc:"of the consumer"`
	Acked uint64 `json:"acked" doc:"LSN that it had acknowledged"`
	Why   string `json:"why" doc:"it could not be carried over"`
}

func newRepairOutput(dir string) *repairOutput {
	return &repairOutput{Dir: dir, Pages: []pagesOutput{}, Entries: []entriesOutput{}}
}

func (o *repairOutput) assessed(l *recovery.Loss) {
	o.Clean, o.Problems, o.Lost = l.Verified.Clean, len(l.Verified.Problems)+l.Verified.More, l.Extent().String()
	o.Opens, o.At, o.Durable, o.Volumes, o.More = l.Opens == nil, uint64(l.At), uint64(l.Durable), l.Volumes, l.More
	o.Why, o.Catalogue = textOf(l.Opens), textOf(l.Catalogue)
	for _, d := range l.Lost {
		o.Pages = append(o.Pages, pagesOutput{d.Name, string(d.Ref), d.First, d.Pages, d.Present, textOf(d.Err)})
	}
	for _, e := range l.Log {
		o.Entries = append(o.Entries, entriesOutput{uint64(e.First), uint64(e.Last), e.Reason})
	}
}

// textOf is what an error says, on one line; empty for none.
func textOf(err error) string {
	if err == nil {
		return ""
	}
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	return strings.ReplaceAll(text, "; nothing was changed, run txnctl recovery verify", "") // that is for those who read the page
}

func goneOf(l *repair.LossError) *goneOutput {
	if l == nil {
		return nil
	}
	o := &goneOutput{At: uint64(l.At.LSN), Time: jsonTime(l.Time.UnixNano()), Unread: textOf(l.Unread), Entries: []goneEntry{}, Passed: append([]string{}, reasons(l.Why)...)}
	for _, r := range l.Lost {
		o.First, o.Last = uint64(r.First), uint64(r.Last)
	}
	for _, k := range l.Known {
		e := goneEntry{LSN: uint64(k.LSN), Time: jsonTime(k.Time), Txn: k.Txn.String()}
		if k.Actor != uuid.Nil {
			e.Actor = k.Actor.String()
		}
		o.Entries = append(o.Entries, e)
	}
	return o
}

func repairedOf(url string, dry bool, g *repair.Repaired) *repairedOutput {
	o := &repairedOutput{
		URL: url, DryRun: dry, Finished: g.Finished, Damaged: g.Damaged, LSN: uint64(g.Position.LSN), Timeline: g.Position.Timeline.String(),
		Hash: g.Position.Hash.String(), Time: jsonTime(g.Time.UnixNano()), Volumes: g.Volumes, Compared: uint64(g.Compared),
		Snapshot: uint64(g.Base.LSN), From: uint64(g.Checkpoint.LSN), Archived: g.Archived, Own: g.Own, LogFrom: uint64(g.LogFrom), OldFrom: uint64(g.OldFrom),
		Role: g.Role.String(), Dropped: []droppedOutput{}, Passed: append([]string{}, reasons(g.Passed)...),
	}
	if !dry {
		o.Digest = g.Digest.String()
	}
	if g.Began.LSN != 0 {
		o.Began, o.New = uint64(g.Began.LSN), g.Began.Timeline.String()
	}
	for _, d := range g.Dropped {
		o.Dropped = append(o.Dropped, droppedOutput{d.Name, uint64(d.Acked.LSN), d.Why})
	}
	return o
}

func (o *repairOutput) text(w io.Writer, name, bad style) {
	if o.Repaired == nil && o.Gone == nil {
		o.lossText(w, name, bad)
		return
	}
	if r := o.Repaired; r != nil {
		r.text(w, name, o)
	}
	if o.Gone != nil {
		o.Gone.text(w, name, bad, o)
	}
}

// lossText says what is lost by the store alone.
func (o *repairOutput) lossText(w io.Writer, name, bad style) {
	if o.Clean {
		printFacts(w, name, fact{"verdict", "all is well, nothing was changed"})
		return
	}
	printFacts(w, name,
		fact{"verdict", bad.paint(count(o.Problems, "problem")) + ": " + o.lost() + "; nothing was changed"},
		fact{"opens", o.opens()},
		fact{"state", o.state()},
		fact{"next", "repair it from an archive: txnctl recovery repair --from URL"},
	)
	for _, p := range o.Pages {
		fmt.Fprintf(w, "  %s: %s\n", bad.paint(p.what()), p.Reason)
	}
	if o.More > 0 {
		fmt.Fprintf(w, "  and %d more ranges of pages\n", o.More)
	}
	if o.Catalogue != "" {
		fmt.Fprintf(w, "  %s: %s\n", bad.paint("not all volumes can be named"), o.Catalogue)
	}
	for _, e := range o.Entries {
		fmt.Fprintf(w, "  %s: %s\n", bad.paint(e.what()), e.Reason)
	}
}

func (o *repairOutput) lost() string {
	switch o.Lost {
	case "nothing":
		return "nothing that was committed is lost"
	case "history":
		return "the newest state is whole, tags or old entries are lost"
	case "state":
		return "part of the newest state is lost"
	}
	return "the manifest is lost, and without it nothing can be found"
}

func (o *repairOutput) opens() string {
	if o.Opens {
		return "yes; what is damaged is an error when it is read"
	}
	return "no: " + o.Why
}

func (o *repairOutput) state() string {
	switch {
	case o.At == 0:
		return ""
	case o.At < o.Durable:
		return fmt.Sprintf("%s at LSN %d; what entries %d to %d changed is lost", count(o.Volumes, "volume"), o.At, o.At+1, o.Durable)
	}
	return fmt.Sprintf("%s at LSN %d, the newest", count(o.Volumes, "volume"), o.At)
}

func (p pagesOutput) what() string {
	s := fmt.Sprintf("page %d", p.First)
	if p.Pages > 1 {
		s = fmt.Sprintf("pages %d to %d (%d written)", p.First, p.First+p.Pages-1, p.Present)
	}
	s += " of " + printable(p.Volume)
	if p.Tag != "" {
		s += "@" + printable(p.Tag)
	}
	return s
}

func (e entriesOutput) what() string {
	if e.First == e.Last {
		return fmt.Sprintf("entry %d", e.First)
	}
	return fmt.Sprintf("entries %d to %d", e.First, e.Last)
}

func (r *repairedOutput) text(w io.Writer, name style, o *repairOutput) {
	printFacts(w, name,
		fact{"verdict", r.verdict(o.Dir)},
		fact{"damaged store", r.Damaged},
		fact{"state", fmt.Sprintf("LSN %d of timeline %s, %s", r.LSN, r.Timeline, r.Time)},
		fact{"entry hash", r.Hash},
		fact{"volumes", r.volumes()},
		fact{"compared", r.compared()},
		fact{"made of", r.madeOf()},
		fact{"log", r.log()},
		fact{"goes on", r.goesOn()},
	)
	for _, d := range r.Dropped {
		fmt.Fprintf(w, "Consumer %s, at LSN %d, has to begin anew: %s.\n", printable(d.Name), d.Acked, d.Why)
	}
	for _, why := range r.Passed {
		fmt.Fprintf(w, "Passed over, and not needed: %s\n", why)
	}
}

func (r *repairedOutput) verdict(dir string) string {
	switch {
	case r.DryRun:
		return "can be repaired; nothing was made"
	case r.Finished:
		return "a repair that was interrupted is finished: " + dir + ", a " + r.Role
	}
	return "repaired " + dir + ", a " + r.Role
}

func (r *repairedOutput) volumes() string {
	if r.DryRun {
		return ""
	}
	return fmt.Sprintf("%d, digest %s", r.Volumes, r.Digest)
}

func (r *repairedOutput) compared() string {
	switch {
	case r.DryRun || r.Finished:
		return ""
	case r.Compared == 0:
		return "the damaged store cannot say what its state was"
	}
	return fmt.Sprintf("the damaged store's own catalogue says the same at LSN %d", r.Compared)
}

func (r *repairedOutput) madeOf() string {
	if r.Finished {
		return ""
	}
	begin := ""
	if r.Snapshot != 0 {
		begin = fmt.Sprintf("the snapshot at LSN %d, ", r.Snapshot)
	}
	if r.From != 0 {
		begin += fmt.Sprintf("what is younger of the store's own checkpoint at LSN %d, ", r.From)
	}
	return fmt.Sprintf("%s%s of the archive, %s of the store's own log", begin, count(r.Archived, "entry"), count(r.Own, "entry"))
}

func (r *repairedOutput) log() string {
	switch {
	case r.Finished:
		return ""
	case r.OldFrom != 0 && r.LogFrom > r.OldFrom:
		return fmt.Sprintf("from LSN %d on; that of the damaged store began with %d, nothing leads there any more", r.LogFrom, r.OldFrom)
	}
	return fmt.Sprintf("from LSN %d on", r.LogFrom)
}

func (r *repairedOutput) goesOn() string {
	switch {
	case r.Began != 0:
		return fmt.Sprintf("LSN %d begins timeline %s", r.Began, r.New)
	case r.DryRun || r.Finished:
		return ""
	}
	return "on the same timeline"
}

func (g *goneOutput) text(w io.Writer, name, bad style, o *repairOutput) {
	accepted := o.Repaired != nil
	verdict, next := bad.paint("cannot be repaired without loss")+"; nothing was changed", "an archive that has more, or --accept-loss"
	asItIs := o.lost() + "; it does not open"
	if o.Opens {
		asItIs = o.lost() + "; it opens"
	}
	if accepted {
		verdict, next, asItIs = "", "", ""
	}
	what := ""
	if g.First != 0 {
		what = entriesOutput{First: g.First, Last: g.Last}.what() + ", which neither archive nor store has"
	}
	printFacts(w, name,
		fact{"verdict", verdict},
		fact{"lost for good", what},
		fact{"not known", g.Unread},
		fact{"can be had", fmt.Sprintf("LSN %d, %s", g.At, g.Time)},
		fact{"as it is", asItIs},
		fact{"next", next},
	)
	for _, e := range g.Entries {
		actor := ""
		if e.Actor != "" {
			actor = ", actor " + e.Actor
		}
		fmt.Fprintf(w, "  %s: %s, transaction %s%s\n", bad.paint(fmt.Sprintf("entry %d", e.LSN)), e.Time, e.Txn, actor)
	}
	if accepted {
		return
	}
	for _, why := range g.Passed {
		fmt.Fprintf(w, "Could not be used: %s\n", why)
	}
}
