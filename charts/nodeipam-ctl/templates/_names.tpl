{{/* What are the objects called, and which labels do they carry? */}}

{{- define "nodeipam-ctl.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
The prefix of all names. A Service's name has at most 63 characters, and the longest of ours ends in "-controller-metrics";
it has no dots either, which a release's name may have.
*/}}
{{- define "nodeipam-ctl.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := default (printf "%s-%s" .Release.Name $name) (ternary .Release.Name "" (contains $name .Release.Name)) }}
{{- default $full .Values.fullnameOverride | replace "." "-" | trunc 44 | trimSuffix "-" }}
{{- end }}

{{/* Objects of one program: <fullname>-controller, <fullname>-agent. Takes (list $ "controller"). */}}
{{- define "nodeipam-ctl.program" -}}
{{- printf "%s-%s" (include "nodeipam-ctl.fullname" (index . 0)) (index . 1) }}
{{- end }}

{{/* toYaml quotes what would be a number: releases and namespaces may be called 123. */}}
{{- define "nodeipam-ctl.labels" -}}
{{- $standard := dict
      "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
      "app.kubernetes.io/name" (include "nodeipam-ctl.name" .)
      "app.kubernetes.io/instance" .Release.Name
      "app.kubernetes.io/version" .Chart.AppVersion
      "app.kubernetes.io/part-of" "nodeipam-ctl"
      "app.kubernetes.io/managed-by" .Release.Service }}
{{- toYaml (merge (deepCopy .Values.commonLabels) $standard) }}
{{- end }}

{{/* What a selector holds never changes after the install, so it has neither versions nor the user's labels. */}}
{{- define "nodeipam-ctl.selectorLabels" -}}
{{- $root := index . 0 }}
{{- toYaml (dict
      "app.kubernetes.io/name" (include "nodeipam-ctl.name" $root)
      "app.kubernetes.io/instance" $root.Release.Name
      "app.kubernetes.io/component" (index . 1)) }}
{{- end }}

{{/* Takes (list $ "agent"), and perhaps labels for this one object, which win over those for all. */}}
{{- define "nodeipam-ctl.programLabels" -}}
{{- $labels := fromYaml (include "nodeipam-ctl.labels" (index . 0)) }}
{{- $own := ternary (last .) dict (gt (len .) 2) }}
{{- toYaml (merge (deepCopy $own) (set $labels "app.kubernetes.io/component" (index . 1))) }}
{{- end }}

{{- define "nodeipam-ctl.serviceAccountName" -}}
{{- $account := (index (index . 0).Values (index . 1)).serviceAccount }}
{{- if $account.create }}
{{- default (include "nodeipam-ctl.program" .) $account.name }}
{{- else }}
{{- default "default" $account.name }}
{{- end }}
{{- end }}
