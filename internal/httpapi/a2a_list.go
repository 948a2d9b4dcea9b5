package httpapi

import (
	"cmp"
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a2aproject/a2a-go/a2a"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/a2awire"
	"github.com/holdfast-run/holdfast/internal/events"
)

const (
	// defaultTasks and maxTasks are the tasks of a page (1.0, ListTasksRequest).
	defaultTasks, maxTasks = 50, 100
	// maxListed is how many contexts a list looks into that is not of one context:
	// the newest. Each costs a look at its log.
	maxListed = 200
)

// listedTask is a task in the order of lists: newest change first.
type listedTask struct {
	ref   holdfast.SessionRef
	run   RunView
	state a2a.TaskState
	task  *a2aTask // nil until it is read
}

// position is the place of a task in the order of lists.
func (t listedTask) position() (int64, string) {
	return t.run.Changed.UnixMilli(), string(taskID(t.ref.Session, t.run.Run))
}

// doList implements ListTasks: the agent's tasks of one context, or of the newest
// contexts that it was the last to work in, newest change first.
func (h *a2aHandler) doList(ctx context.Context, q a2awire.ListTasksRequest) (*a2awire.ListTasksResponse, error) {
	size, state, since, err := checkList(ctx, q)
	if err != nil {
		return nil, err
	}
	before, id, err := parseTaskCursor(q.PageToken)
	if err != nil {
		return nil, err
	}
	var found []listedTask
	sessions, err := h.listedContexts(ctx, q.ContextID)
	if err != nil {
		return nil, err
	}
	for _, ref := range sessions {
		if found, err = h.tasksOf(ctx, found, ref, state, since); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(found, func(a, b listedTask) int {
		at, aid := a.position()
		bt, bid := b.position()
		return cmp.Or(cmp.Compare(bt, at), cmp.Compare(bid, aid))
	})
	out := &a2awire.ListTasksResponse{Tasks: []a2awire.Task{}, PageSize: size, TotalSize: len(found)}
	rest := slices.IndexFunc(found, func(t listedTask) bool {
		at, tid := t.position()
		return q.PageToken == "" || at < before || at == before && tid < id
	})
	if rest < 0 {
		return out, nil
	}
	page := found[rest:min(rest+size, len(found))]
	for _, t := range page {
		if t.task == nil {
			if t.task, err = h.readTask(ctx, t.ref, &t.run); err != nil {
				return nil, err
			}
		}
		one := t.task.task(q.HistoryLength)
		if !q.IncludeArtifacts {
			one.Artifacts = nil
		}
		out.Tasks = append(out.Tasks, a2awire.NewTask(one))
	}
	if rest+size < len(found) {
		out.NextPageToken = taskCursor(page[len(page)-1])
	}
	return out, nil
}

// checkList reads what a list is asked to be of.
func checkList(ctx context.Context, q a2awire.ListTasksRequest) (size int, state a2a.TaskState, since time.Time, err error) {
	invalid := func(format string, args ...any) (int, a2a.TaskState, time.Time, error) {
		return 0, "", since, holdfast.Errorf(holdfast.CodeInvalid, format, args...)
	}
	if err := checkTenant(ctx, q.Tenant); err != nil {
		return 0, "", since, err
	}
	if err := checkHistory(q.HistoryLength); err != nil {
		return 0, "", since, err
	}
	size = defaultTasks
	if q.PageSize != nil {
		if size = *q.PageSize; size < 1 || size > maxTasks {
			return invalid("pageSize: want 1 to %d", maxTasks)
		}
	}
	if q.Status != "" && q.Status != "TASK_STATE_UNSPECIFIED" {
		var ok bool
		if state, ok = a2awire.StateOf(q.Status); !ok {
			return invalid("status: %.50q is no state of a task", q.Status)
		}
	}
	if q.StatusTimestampAfter != "" {
		if since, err = time.Parse(time.RFC3339, q.StatusTimestampAfter); err != nil {
			return invalid("statusTimestampAfter: want a time as 2026-01-02T15:04:05Z")
		}
	}
	return size, state, since, nil
}

// listedContexts are the sessions that a list looks into.
func (h *a2aHandler) listedContexts(ctx context.Context, name string) ([]holdfast.SessionRef, error) {
	tenant := tenantOf(ctx)
	if name != "" {
		ref := holdfast.SessionRef{Tenant: tenant, Session: name}
		if err := ref.Validate(); err != nil {
			return nil, holdfast.WrapError(holdfast.CodeInvalid, err, "contextId: want letters, digits, '-' and '_', at most 128")
		}
		return []holdfast.SessionRef{ref}, nil
	}
	rows, err := h.list(ctx, tenant, events.Page{Limit: maxListed, Filter: events.Filter{Agent: agentFileName(plainName(h.agent.Name))}})
	if err != nil {
		return nil, err
	}
	refs := make([]holdfast.SessionRef, len(rows))
	for i, s := range rows {
		refs[i] = s.Session
	}
	return refs, nil
}

// tasksOf appends the agent's tasks of a session that are asked for. A session that
// is not there has none.
func (h *a2aHandler) tasksOf(ctx context.Context, found []listedTask, ref holdfast.SessionRef, state a2a.TaskState, since time.Time) ([]listedTask, error) {
	v, err := h.view(ctx, ref, 0)
	if holdfast.CodeOf(err) == holdfast.CodeNotFound || holdfast.CodeOf(err) == holdfast.CodeGone {
		return found, nil
	}
	if err != nil {
		return nil, err
	}
	for _, r := range v.Runs {
		if plainName(r.Agent) != plainName(h.agent.Name) || r.Changed.Before(since) {
			continue
		}
		t := listedTask{ref: ref, run: r, state: overState(r.Reason)}
		if r.Status != runFinished && (state != "" || !since.IsZero()) {
			if t.task, err = h.readTask(ctx, ref, &r); err != nil {
				return nil, err
			}
			if t.task.since.Before(since) {
				continue
			}
			t.state = t.task.status().State
		}
		if state == "" || t.state == state {
			found = append(found, t)
		}
	}
	return found, nil
}

// taskCursor is the token of the page behind a task.
func taskCursor(t listedTask) string {
	at, id := t.position()
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(at, 10) + " " + id))
}

func parseTaskCursor(token string) (at int64, id string, err error) {
	if token == "" {
		return 0, "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		var when string
		if when, id, _ = strings.Cut(string(raw), " "); id != "" {
			if at, err = strconv.ParseInt(when, 10, 64); err == nil {
				return at, id, nil
			}
		}
	}
	return 0, "", holdfast.Errorf(holdfast.CodeInvalid, "pageToken: none that a list has given")
}
