package mxsim

import "strings"

// Statuses are the values of connection_status that MX documents, in the order
// of their numbers.
func Statuses() []string {
	return []string{
		"CREATED", "PREVENTED", "DENIED", "CHALLENGED", "REJECTED", "LOCKED", "CONNECTED", "IMPEDED",
		"RECONNECTED", "DEGRADED", "DISCONNECTED", "DISCONTINUED", "CLOSED", "DELAYED", "FAILED", "UPDATED",
		"DISABLED", "IMPORTED", "RESUMED", "EXPIRED", "IMPAIRED", "PENDING",
	}
}

// transient says whether MX moves a member out of this status by itself.
func transient(status string) bool {
	switch status {
	case "CREATED", "UPDATED", "RESUMED", "DELAYED":
		return true
	}
	return false
}

// messageFor is the connection_status_message that goes with a status. The
// wording is ours; % stands for the name of the institution.
func messageFor(status, name *string) *string {
	if status == nil {
		return nil
	}
	institution := "the institution"
	if !blank(name) {
		institution = *name
	}
	return new(strings.ReplaceAll(wording(*status), "%", institution))
}

func wording(status string) string {
	switch status {
	case "CREATED":
		return "The link to % is being set up."
	case "PREVENTED":
		return "% turned the sign-in down too often. New credentials are needed."
	case "DENIED":
		return "% does not know these credentials."
	case "CHALLENGED":
		return "% asks a question before it lets you in."
	case "REJECTED":
		return "% did not take the answer. Another try is needed."
	case "LOCKED":
		return "% has locked the account. Please visit its site."
	case "CONNECTED":
		return "Linked to %."
	case "IMPEDED":
		return "% has something for you to look at on its site."
	case "RECONNECTED":
		return "% moved to another source. Please link it again."
	case "DEGRADED":
		return "% has been hard to reach of late."
	case "DISCONNECTED":
		return "% has been out of reach for a long time."
	case "DISCONTINUED":
		return "% can no longer be linked."
	case "CLOSED":
		return "The link to % was closed."
	case "DELAYED":
		return "% takes longer than usual."
	case "FAILED":
		return "The link to % did not come about."
	case "UPDATED":
		return "The new credentials for % are being tried."
	case "DISABLED":
		return "Updates from % are switched off."
	case "IMPORTED":
		return "Credentials for % are needed before it can be linked."
	case "RESUMED":
		return "% is looking at your answer."
	case "EXPIRED":
		return "The question of % went unanswered for too long."
	case "IMPAIRED":
		return "Some credentials for % are missing."
	case "PENDING":
		return "Waiting for you to authorize at %."
	}
	return "% reports " + strings.ToLower(status) + "."
}

// describe fills in everything but the code.
func (e *MemberError) describe() {
	text := "The institution reported a problem."
	switch e.Code {
	case 1000:
		text = "None of the accounts can be used."
	case 1001:
		text = "There are no accounts."
	case 1002:
		text = "Access was denied."
	case 2001:
		text = "The one-time code was wrong."
	case 2002:
		text = "The answer was wrong."
	case 2003:
		text = "The answer came too late."
	case 2004:
		text = "The authorization has to be given again."
	case 2005:
		text = "The credentials are not valid."
	case 3000, 3002:
		text = "The institution cannot be reached."
	case 3001:
		text = "The institution is under maintenance."
	}
	e.Type = new("MEMBER")
	e.Message = new(text)
	e.UserMessage = new(text + " Please try again later.")
	e.Locale = new("en")
}
